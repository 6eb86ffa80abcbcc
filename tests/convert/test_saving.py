"""A saved network comes back as it was; what could not come back is refused."""

import copy
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from spikeport.convert.build import build
from spikeport.convert.errors import ConversionError
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.neurons import Neuron
from spikeport.convert.saving import container as saving
from spikeport.convert.saving.container import load, save
from spikeport.zoo.timm_layers import simplify


class Mixed(nn.Module):
    """What hand-written networks do: little of it is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 8, 3, padding="same", padding_mode="reflect")
        self.branch = nn.Conv2d(4, 8, 1)
        self.scale = nn.Parameter(torch.full((1, 20, 1, 1), 0.9))
        self.after = nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 6)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        weight = self.body.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std()
        x = torch.relu(x + F.conv2d(x, weight, self.body.bias, padding=1))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        first, second = x.chunk(2, dim=1)
        x = torch.cat([F.relu6(self.branch(first)), second, x[:, :, :, :].clamp(0, 1.5)], 1)
        x = torch.sigmoid(self.after(x * self.scale)) * x
        x = x.mean((2, 3)).view(x.size(0), -1)[..., :]
        return {"scores": self.head(x), "features": (x, [x[:, 1:3]])}


class Tied(nn.Module):
    """One weight in two layers and in a product; another as a buffer that shares its storage."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.first.bias.requires_grad_(False)
        self.register_buffer("view", torch.randn(4, 6)[1:])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return torch.cat([x @ self.first.weight.t(), F.linear(x, self.view)], 1)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.Hardtanh(), nn.Linear(8, 3)
    )


def from_timm(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, **arguments)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mixed": (Mixed, (3, 12, 12)),
    "tied": (Tied, (6,)),
    "mlp": (mlp, (5,)),
    "resnet18": (from_timm("resnet18"), (3, 64, 64)),
    "efficientnet": (from_timm("tf_efficientnet_lite0"), (3, 64, 64)),
    "regnety": (from_timm("regnety_002"), (3, 64, 64)),
    "densenet": (from_timm("densenet121", block_config=(2, 2, 2, 2)), (3, 64, 64)),
    "vit": (from_timm("vit_tiny_patch16_224", img_size=64, depth=2), (3, 64, 64)),
    "googlenet": (
        lambda: torchvision.models.googlenet(aux_logits=False, init_weights=False),
        (3, 64, 64),
    ),
    "shufflenet": (torchvision.models.shufflenet_v2_x0_5, (3, 64, 64)),
}


def converted(name: str, model: Neuron | None = None) -> tuple[SpikingNetwork, Tensor]:
    """A calibrated network with random weights, and an input for it."""
    torch.manual_seed(0)
    make, shape = NETS[name]
    x = torch.randn(2, *shape)
    network = build(make().eval(), x, model or Neuron(2, 1), simplify=simplify)
    peaks: dict[str, float] = {}
    with torch.no_grad():
        network.analog(x, lambda key, v: peaks.__setitem__(key, float(v.abs().max())))
    for key, neuron in network.neurons.items():
        neuron.threshold.data.fill_(max(peaks[key], 1e-3) / 3)
        neuron.v0.data.copy_(neuron.threshold / 2)
    network.info = {"source": name, "neuron": {"max_up": 2}, "images": [1, 2.5, None, True, "ü"]}
    return network, x


@pytest.fixture
def small(tmp_path: Path) -> tuple[SpikingNetwork, Path]:
    network, _ = converted("mixed")
    path = tmp_path / "net.snn"
    save(network, path)
    return network, path


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_everything_comes_back(name: str, tmp_path: Path) -> None:
    network, x = converted(name)
    save(network, tmp_path / "first")
    loaded = load(tmp_path / "first")
    save(loaded, tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    same_state(network, loaded)
    assert (loaded.info, loaded.traced_shape) == (network.info, network.traced_shape)
    assert program(loaded) == program(network)
    assert list(loaded.neurons) == list(network.neurons)
    assert loaded.analog_layers() == network.analog_layers()
    torch.testing.assert_close(loaded.analog(x), network.analog(x), rtol=0, atol=0)
    torch.testing.assert_close(loaded(x, 2), network(x, 2), rtol=0, atol=0)
    for before, after in zip(network.graph.nodes, loaded.graph.nodes, strict=True):
        assert before.meta == after.meta
        assert {k: type(v) for k, v in before.meta.items()} == {
            k: type(v) for k, v in after.meta.items()
        }


def program(network: SpikingNetwork) -> list[tuple[Any, ...]]:
    return [
        (node.name, node.op, node.target, str(node.args), str(node.kwargs))
        for node in network.graph.nodes
    ]


def same_state(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert value.dtype == theirs[key].dtype
        np.testing.assert_array_equal(value.double().cpu(), theirs[key].double())
    grads = [{k: p.requires_grad for k, p in m.named_parameters()} for m in (one, other)]
    assert grads[0] == grads[1]


def test_a_loaded_network_is_like_a_fresh_one(tmp_path: Path) -> None:
    network, x = converted("mlp")
    save(network, tmp_path / "net.snn")
    before = torch.random.get_rng_state()
    loaded = load(str(tmp_path / "net.snn"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not loaded.training
    assert loaded.backend == "auto"
    twin = copy.deepcopy(loaded).to(torch.float64)
    torch.testing.assert_close(twin.analog(x.double()).float(), loaded.analog(x))
    seen: list[str] = []
    for _ in loaded.chunks(x, 4, chunk=2, observe=lambda key, *_: seen.append(key)):
        pass
    assert seen == list(loaded.neurons) * 2
    with pytest.warns(UserWarning, match=r"get no gradient from this call.*sp\.trainable"):
        loaded.requires_grad_(True)(x, 2).sum().backward()
    loaded.load_state_dict(network.state_dict())


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    network, _ = converted("tied")
    network.first.weight.requires_grad_(True)
    save(network, tmp_path / "net.snn")
    loaded = load(tmp_path / "net.snn")
    assert loaded.first.weight.requires_grad
    assert loaded.second.weight is loaded.first.weight
    assert not loaded.first.bias.requires_grad
    weights = safetensors.torch.load(members(tmp_path / "net.snn")["weights.safetensors"])
    assert "first.weight" in weights
    assert "second.weight" not in weights


def test_constants_keep_what_they_are(small: tuple[SpikingNetwork, Path]) -> None:
    loaded = load(small[1])
    assert isinstance(loaded.scale, nn.Parameter)
    assert set(dict(loaded.named_buffers())) == set(dict(small[0].named_buffers()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type(dtype: torch.dtype, tmp_path: Path) -> None:
    network, _ = converted("mixed")
    network.to(dtype)
    save(network, tmp_path / "net.snn")
    same_state(network, load(tmp_path / "net.snn"))


@pytest.mark.parametrize(
    "model", [Neuron(1, 0), Neuron(3, 3, leak=0.9), Neuron(1, 1, hard_reset=True)]
)
def test_neurons_keep_how_they_fire(model: Neuron, tmp_path: Path) -> None:
    network, _ = converted("mixed", model)
    first = next(iter(network.neurons.values()))
    first.threshold = nn.Parameter(torch.rand(first.threshold.numel(), 12, 12))  # one per neuron
    save(network, tmp_path / "net.snn")
    loaded = load(tmp_path / "net.snn").neurons
    for name, neuron in network.neurons.items():
        found = loaded[name]
        assert (found.model, found.low, found.high) == (neuron.model, neuron.low, neuron.high)
        assert torch.equal(found.threshold, neuron.threshold)


@torch.no_grad()
def test_the_layout_in_memory_stays(tmp_path: Path) -> None:
    network, x = converted("mixed")
    network.to(memory_format=torch.channels_last)
    save(network, tmp_path / "net.snn")
    loaded = load(tmp_path / "net.snn")
    weight = loaded.get_parameter("stem.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(loaded.analog(x), network.analog(x), rtol=0, atol=0)
    save(loaded, tmp_path / "again.snn")
    assert (tmp_path / "again.snn").read_bytes() == (tmp_path / "net.snn").read_bytes()


def test_an_uncalibrated_network_too(tmp_path: Path) -> None:
    network = build(mlp().eval(), torch.randn(2, 5), Neuron())
    save(network, tmp_path / "net.snn")
    same_state(network, load(tmp_path / "net.snn"))


def test_the_description_is_readable(small: tuple[SpikingNetwork, Path]) -> None:
    text = members(small[1])["network.json"].decode()
    line = next(line for line in text.splitlines() if line.startswith('  "branch"'))
    assert json.loads("{" + line.rstrip(",") + "}")["branch"]["in_channels"] == 4
    assert max(map(len, text.splitlines())) < 1000


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# what cannot be saved


def test_unknown_layers_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    network, _ = converted("mlp")
    network.add_module("2", nn.utils.parametrizations.spectral_norm(network.get_submodule("2")))
    with pytest.raises(ConversionError, match=r"'2'.*ParametrizedLinear.*replace it"):
        save(network, tmp_path / "net.snn")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_layer_is_refused(tmp_path: Path) -> None:
    network, _ = converted("mlp")
    network.get_submodule("2").forward = lambda x: x
    with pytest.raises(ConversionError, match="'2'.*forward has been replaced"):
        save(network, tmp_path / "net.snn")
    network, _ = converted("mlp")
    network.get_submodule("2").register_buffer("mask", torch.ones(8, 8))
    with pytest.raises(ConversionError, match="'2'.*tensors.*mask"):
        save(network, tmp_path / "net.snn")
    network, _ = converted("mlp")
    network.register_buffer("mine", torch.ones(3))
    with pytest.raises(ConversionError, match="would be lost: 'mine'"):
        save(network, tmp_path / "net.snn")


def test_an_argument_that_has_no_form_names_its_node(tmp_path: Path) -> None:
    network, _ = converted("mixed")
    node = next(node for node in network.graph.nodes if node.name == "cat")
    node.args = (node.args[0], 1j)
    with pytest.raises(ConversionError, match=r"node 'cat' in module 'top'.*complex"):
        save(network, tmp_path / "net.snn")
    node.target = os.path.join
    with pytest.raises(ConversionError, match=r"node 'cat' .*join.*may call"):
        save(network, tmp_path / "net.snn")


@pytest.mark.parametrize("info", [{"a": {1, 2}}, {"a": float("nan")}, {(1, 2): 3}])
def test_info_has_to_be_json(info: dict[Any, Any], tmp_path: Path) -> None:
    network, _ = converted("mlp")
    network.info = info
    with pytest.raises(ConversionError, match="info cannot be saved"):
        save(network, tmp_path / "net.snn")
    assert list(tmp_path.iterdir()) == []


def test_only_networks_are_saved(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"'Sequential'.*to_snn"):
        save(mlp(), tmp_path / "net.snn")  # type: ignore[arg-type]


# the file on the disk


def test_a_failing_save_leaves_the_old_file(
    small: tuple[SpikingNetwork, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path = small
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(saving.os, broken, full)
            with pytest.raises(OSError, match="no space"):
                save(network, path)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


def test_where_a_file_goes(small: tuple[SpikingNetwork, Path]) -> None:
    network, path = small
    with pytest.raises(ConversionError, match="create the folder"):
        save(network, path.parent / "none" / "net.snn")
    with pytest.raises(ConversionError, match="is a folder"):
        save(network, path.parent)
    link = path.parent / "link.snn"
    link.symlink_to(path.name)
    save(converted("mlp")[0], link)
    assert link.is_symlink()
    assert load(path).traced_shape[1:] == (5,)
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
