"""Reading weights: nothing is executed, nothing is left out."""

import argparse
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spikeport.zoo.state_dicts import fill, mismatches, read_state_dict


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    witness = tmp_path / "witness"
    content = {"state_dict": network().state_dict(), "extra": Malicious(witness)}
    file = tmp_path / "evil.pth"
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"refused.*system.*safetensors"):
        read_state_dict(file)
    assert not witness.exists()
    torch.load(file, weights_only=False)  # the attack works where it is let through
    assert witness.exists()


def test_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"refused: it holds torch\.nn"):
        read_state_dict(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "wrapper", ["state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict"]
)
def test_wrappers_and_prefix_are_removed(tmp_path: Path, wrapper: str) -> None:
    state = network().state_dict()
    content = {wrapper: {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    content["args"] = argparse.Namespace(lr=0.1)
    torch.save(content, tmp_path / "a.th")
    read = read_state_dict(tmp_path / "a.th")
    assert list(read) == list(state)
    assert all(torch.equal(read[k], state[k]) for k in state)


def test_wrapper_around_itself_is_refused(tmp_path: Path) -> None:
    inner: dict[str, object] = {}
    inner["state_dict"] = {"model": inner}
    torch.save(inner, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="entries are not tensors"):
        read_state_dict(tmp_path / "a.pt")


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    content = {"state_dict": {"w": torch.zeros(1)}, "state_dict_ema": {"w": torch.ones(1)}}
    torch.save(content, tmp_path / "a.pt")
    assert read_state_dict(tmp_path / "a.pt")["w"].item() == 1


def test_safetensors(tmp_path: Path) -> None:
    save_file({"module.w": torch.ones(2)}, tmp_path / "a.safetensors")
    assert read_state_dict(tmp_path / "a.safetensors")["w"].tolist() == [1, 1]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="cannot be read|is not safetensors"):
        read_state_dict(file)


def test_other_content(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    torch.save({"weights": {"w": torch.ones(1)}, "epoch": 1}, tmp_path / "nested.pt")
    torch.save({}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="holds a list, expected named tensors"):
        read_state_dict(tmp_path / "list.pt")
    with pytest.raises(ValueError, match="2 of 2 entries are not tensors: weights, epoch"):
        read_state_dict(tmp_path / "nested.pt")
    with pytest.raises(ValueError, match="an empty dict"):
        read_state_dict(tmp_path / "empty.pt")


def test_missing_file_and_suffix(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_state_dict(tmp_path / "a.pt")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ValueError, match=r"unknown suffix '\.onnx'"):
        read_state_dict(tmp_path / "a.onnx")


def test_fill_names_every_kind_of_mismatch() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = dict(network().state_dict())
    del state["0.bias"]
    state |= {f"head.{i}": torch.zeros(1) for i in range(7)}
    state["1.weight"] = torch.zeros(9)
    with pytest.raises(ValueError, match="num_classes") as caught:
        fill(model, state, "checkpoint 'x.pt'")
    text = str(caught.value)
    assert "checkpoint 'x.pt' does not fit Sequential" in text
    assert "1 missing: 0.bias;" in text
    assert "7 unexpected: head.0, head.1, head.2, head.3, head.4, ...;" in text
    assert "1 mis-shaped: 1.weight [9] in the file, [4] in the model" in text
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_num_batches_tracked_does_not_matter() -> None:
    state = dict(network().state_dict())
    del state["1.num_batches_tracked"]
    state["2.num_batches_tracked"] = torch.tensor(1)
    model = network()
    assert mismatches(state, model.state_dict()) is None
    fill(model, state, "x")
    assert torch.equal(model.state_dict()["0.weight"], state["0.weight"])
