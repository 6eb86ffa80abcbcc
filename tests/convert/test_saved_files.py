"""A file can do nothing but describe a network: whatever else it holds is refused."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from spikeport.convert.build import build
from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons import Neuron
from spikeport.convert.saving.container import load, save


class Net(nn.Module):
    """Has every kind of node."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 6)
        self.scale = nn.Parameter(torch.rand(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x)) * self.scale
        return self.head(x.mean((2, 3)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(build(Net().eval(), torch.randn(2, 3, 8, 8), Neuron()), tmp_path / "net.snn")
    load(tmp_path / "net.snn")
    return tmp_path / "net.snn"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = members(path)
    description = json.loads(content["network.json"])
    change(description)
    pack(path, content | {"network.json": json.dumps(description).encode()})


def refuses(path: Path, match: str) -> None:
    with pytest.raises(ConversionError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "net.snn"
    with pytest.raises(FileNotFoundError, match=r"net\.snn"):
        load(path)
    path.write_bytes(b"hello")
    refuses(path, "not a zip")
    torch.save({"a": torch.ones(2)}, path)
    refuses(path, r"data\.pkl.*checkpoint")
    pack(path, {"network.json": b'{"format": "other"}', "weights.safetensors": b""})
    refuses(path, "does not say")
    pack(path, {"network.json": b"[1]", "weights.safetensors": b""})
    refuses(path, "does not say")


def test_damaged_files(path: Path) -> None:
    whole, content = path.read_bytes(), members(path)
    path.write_bytes(whole[: len(whole) // 2])
    refuses(path, "cut off")
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    refuses(path, "damaged.*CRC")
    pack(path, content | {"network.json": content["network.json"][:-5]})
    refuses(path, "damaged.*JSON")
    pack(path, content | {"network.json": b"[" * 100_000})
    refuses(path, "damaged")
    pack(path, content | {"weights.safetensors": b"\x08\0\0\0\0\0\0\0{}"})
    refuses(path, "damaged.*SafetensorError|damaged.*[Hh]eader")
    pack(path, content, zipfile.ZIP_DEFLATED)
    refuses(path, "compressed")


def test_versions(path: Path) -> None:
    edit(path, lambda d: d.update(format_version=2, spikeport_version="9.1"))
    refuses(path, r"format version 2.*'9\.1'.*upgrade")


def test_the_tensors_have_to_fit(path: Path) -> None:
    content = members(path)
    tensors = safetensors.torch.load(content["weights.safetensors"])

    def with_tensors(changed: dict[str, Tensor]) -> None:
        pack(path, content | {"weights.safetensors": safetensors.torch.save(changed)})

    with_tensors({k: v for k, v in tensors.items() if k != "head.bias"})
    refuses(path, r"'head\.bias' missing")
    with_tensors(tensors | {"more": torch.ones(1)})
    refuses(path, "'more' not expected")
    with_tensors(tensors | {"head.bias": torch.ones(7)})
    refuses(path, r"'head\.bias' has shape \[7\].*\[6\]")


def first(description: dict[str, Any], op: str) -> dict[str, Any]:
    return next(node for node in description["nodes"] if node["op"] == op)


def getattr_of(name: str) -> Callable[[dict[str, Any]], Any]:
    args = [{"node": "x"}, name]
    return lambda d: first(d, "call_function").update(target="builtins.getattr", args=args)


CALL, METHOD = "call_function", "call_method"
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "os.system": (lambda d: first(d, CALL).update(target="os.system"), "may call"),
    "torch.load": (lambda d: first(d, CALL).update(target="torch.load"), "may call"),
    "torch.save": (lambda d: first(d, CALL).update(target="torch.save"), "may call"),
    "os.abs": (lambda d: first(d, CALL).update(target="os.abs"), "unknown"),
    "builtins.pow": (lambda d: first(d, CALL).update(target="builtins.pow"), "unknown"),
    "operator.call": (lambda d: first(d, CALL).update(target="operator.call"), "may call"),
    "import": (
        lambda d: first(d, CALL).update(target="torch._import_dotted_name"),
        "may call",
    ),
    "reduce": (lambda d: first(d, METHOD).update(target="__reduce__"), "may call"),
    "storage": (lambda d: first(d, METHOD).update(target="untyped_storage"), "may call"),
    "class": (getattr_of("__class__"), "may read"),
    "dict": (getattr_of("__dict__"), "may read"),
    "attribute as a node": (
        lambda d: first(d, CALL).update(
            target="builtins.getattr", args=[{"node": "x"}, {"node": "x"}]
        ),
        "may read",
    ),
    "class of a layer": (lambda d: d["layers"]["head"].update({"class": "Popen"}), "'Popen'"),
    "argument of a layer": (lambda d: d["layers"]["head"].update(device="cpu"), "'device'"),
    "no module": (lambda d: first(d, "call_module").update(target="__class__"), "__class__"),
    "no tensor": (lambda d: first(d, "get_attr").update(target="forward"), "forward"),
    "layer name": (lambda d: d["layers"].update({"forward": {"class": "Identity"}}), "damaged"),
    "later node": (lambda d: d["nodes"][2].update(args=[{"node": "output"}]), "no earlier node"),
    "same name": (lambda d: d["nodes"][2].update(name="x"), "taken"),
    "unknown op": (lambda d: d["nodes"][2].update(op="call"), "damaged"),
    "role": (lambda d: d["nodes"][1]["meta"].update(role="neuron"), "role"),
    "unknown role": (lambda d: d["nodes"][1]["meta"].update(role="other"), "role"),
    "meta": (lambda d: d["nodes"][1]["meta"].update(code="1"), "'code'"),
    "dtype": (lambda d: first(d, CALL).update(args=[{"dtype": "load"}]), "no torch.dtype"),
    "kind": (lambda d: first(d, CALL).update(args=[{"pickle": "gASV"}]), "'pickle'"),
    "no output": (lambda d: d["nodes"].pop(), "output"),
    "range": (lambda d: d["layers"]["head"].update(in_features=-3), "head"),
    "tensor kind": (lambda d: d["tensors"]["head.bias"].update(kind="code"), "'code'"),
    "buffer": (lambda d: d["tensors"]["head.bias"].update(kind="buffer"), "damaged"),
    "tied": (lambda d: d["tensors"]["head.bias"].update(tied_to="none"), r"head\.bias"),
    "order": (lambda d: d["tensors"]["head.weight"].update(order=[7, 7]), "damaged"),
    "constant": (lambda d: d["tensors"].pop("scale"), "scale"),
    "no nodes": (lambda d: d.pop("nodes"), "damaged.*nodes"),
    "info": (lambda d: d.update(info=[]), "info"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_descriptions(name: str, path: Path) -> None:
    change, match = HOSTILE[name]
    edit(path, change)
    refuses(path, match)
