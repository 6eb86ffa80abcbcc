"""CIFAR-10 models: names, public key layouts, what comes with the package, conversion."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spikeport.zoo import cifar
from spikeport.zoo.checkpoints import RANDOM, load_model
from spikeport.zoo.cifar_data import read_split
from spikeport.zoo.cifar_resnet import CifarResNet
from spikeport.zoo.cifar_vgg import CifarVGG
from spikeport.zoo.images import input_config, make_transform
from spikeport.zoo.pipeline import to_snn

DATA = "SPIKEPORT_CIFAR10"  # a folder or .zip, see `read_split`
SHIPPED = ("cifar10/resnet20", "cifar10/vgg16-thin")
RESNET, VGG = "cifar10/resnet20", "cifar10/vgg16-thin"


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def used(model: nn.Module) -> nn.Module:
    """As after training: statistics that are not those of a new model."""
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def same(model: nn.Module, other: nn.Module) -> bool:
    with torch.inference_mode():
        return torch.equal(model(images()), other(images()))


@pytest.mark.parametrize("name", cifar.NAMES)
def test_every_name_builds(name: str) -> None:
    model = load_model(name, RANDOM)
    assert not model.training
    with torch.inference_mode():
        assert model(images()).shape == (2, 10)
    config = input_config(model)
    assert json.loads(json.dumps(config)) == config
    assert (config["input_size"], config["crop_pct"]) == ([3, 32, 32], 1.0)


@pytest.mark.parametrize(
    ("model", "millions"),
    [(CifarResNet(20), 0.27), (CifarResNet(32), 0.46), (CifarResNet(56), 0.85)],
)
def test_resnets_have_the_size_of_the_paper(model: nn.Module, millions: float) -> None:
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


def test_resnet_has_the_public_keys() -> None:
    keys = set(CifarResNet(32).state_dict())
    assert {"conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "linear.weight"} <= keys
    assert "layer3.4.bn2.running_var" in keys
    assert not any("shortcut" in key for key in keys)


def test_option_a_shortcut_moves_no_value() -> None:
    block = CifarResNet(8).layer2[0]
    x = images().repeat(1, 6, 1, 1)[:, :16]
    y = block.shortcut(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_image_is_prepared_without_being_resampled() -> None:
    from PIL import Image

    pixels = torch.randint(256, (32, 32, 3), dtype=torch.uint8)
    model = load_model(RESNET, RANDOM)
    prepared = make_transform(input_config(model))(Image.fromarray(pixels.numpy()))
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (cifar.MEAN, cifar.STD))
    assert torch.allclose(prepared, (pixels.permute(2, 0, 1) / 255 - mean) / std)


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_public_wrappers(tmp_path: Path, wrapper: str, prefix: str) -> None:
    source = used(CifarResNet(20))
    state = {prefix + key: value for key, value in source.state_dict().items()}
    torch.save({wrapper: state, "best_prec1": 92.6} if wrapper else state, tmp_path / "a.th")
    assert same(load_model(RESNET, tmp_path / "a.th"), source)


def test_other_spelling_of_a_resnet_with_projections(tmp_path: Path) -> None:
    source = used(CifarResNet(20, projection=True))
    state = {
        key.replace("linear.", "fc.").replace(".shortcut.", ".downsample."): value
        for key, value in source.state_dict().items()
    }
    save_file(state, tmp_path / "a.safetensors")
    assert same(load_model(RESNET, tmp_path / "a.safetensors"), source)


@pytest.mark.parametrize("positions", [(0, 3, 6), (1, 4, 6), (0, 2, 4)])
def test_vgg_with_three_layers_at_its_end(tmp_path: Path, positions: tuple[int, ...]) -> None:
    source = used(CifarVGG(0.25, hidden=(48, 32)))
    state = source.state_dict()
    for ours, theirs in zip((0, 3, 6), positions, strict=True):
        for part in ("weight", "bias"):
            state[f"x.{theirs}.{part}"] = state.pop(f"classifier.{ours}.{part}")
    state = {
        key.replace("x.", "classifier.") if key.startswith("x.") else key: value
        for key, value in state.items()
    }
    torch.save({"net": state}, tmp_path / "a.pt")
    assert same(load_model(VGG, tmp_path / "a.pt"), source)


def test_normalisation_beside_the_checkpoint(tmp_path: Path) -> None:
    save_file(CifarResNet(20).state_dict(), tmp_path / "a.safetensors")
    beside = tmp_path / "a.json"
    beside.write_text('{"mean": [0.49, 0.48, 0.45], "std": [0.2, 0.2, 0.2], "epochs": 3}')
    config = input_config(load_model(RESNET, tmp_path / "a.safetensors"))
    assert (config["mean"], config["std"]) == ([0.49, 0.48, 0.45], [0.2, 0.2, 0.2])
    given = load_model(RESNET, tmp_path / "a.safetensors", mean=(0.5, 0.5, 0.5))
    assert input_config(given)["mean"] == [0.5, 0.5, 0.5]
    for text in ("{", "[]"):
        beside.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json', beside the checkpoint"):
            load_model(RESNET, tmp_path / "a.safetensors")


def test_refusals_name_keys_and_the_way_out(tmp_path: Path) -> None:
    state = CifarResNet(20).state_dict()
    state["extra"] = state.pop("layer1.0.conv1.weight")
    torch.save(state, tmp_path / "a.pt")
    keys = r"1 missing: layer1\.0\.conv1\.weight; 1 unexpected: extra"
    with pytest.raises(ValueError, match=keys):
        load_model(RESNET, tmp_path / "a.pt")
    save_file(CifarResNet(20).state_dict(), tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"60 missing: layer1\.3\.conv1"):
        load_model("cifar10/resnet32", tmp_path / "b.safetensors")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.th"):
        load_model(RESNET, "nowhere.th")
    with pytest.raises(
        ValueError, match=r"cifar10/resnet44.*only for cifar10/resnet20, .*checkpoint="
    ):
        load_model("cifar10/resnet44")
    with pytest.raises(ValueError, match=r"no such model for CIFAR-10. There are cifar10/resnet20"):
        load_model("cifar10/resnet21")
    with pytest.raises(ValueError, match=r"Close names: .*cifar10/resnet20"):
        load_model("resnet20")
    with pytest.raises(ValueError, match="depth=21"):
        CifarResNet(21)
    with pytest.raises(ValueError, match=r"width=0\.01"):
        CifarVGG(0.01)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_load(name: str) -> None:
    record = json.loads(cifar.shipped(name).with_suffix(".json").read_text())
    assert record["model"] == name
    assert record["epochs_trained"] == record["recipe"]["epochs"]
    assert record["test_accuracy"] > 80
    with torch.inference_mode():
        assert load_model(name)(images()).isfinite().all()


def test_shipped_weights_are_small() -> None:
    assert sum(file.stat().st_size for file in cifar.WEIGHTS.iterdir()) <= 5e6
    assert {file.stem for file in cifar.WEIGHTS.iterdir()} == {n.replace("/", "_") for n in SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
def test_converts_by_name(name: str) -> None:
    data = images(8)
    network = to_snn(name, [data], "multi-level", "max", progress=False)
    assert network.info["input"]["mean"] == list(cifar.MEAN)
    with torch.inference_mode():
        source = load_model(name)(data)
        near, far = ((network(data, timesteps=t) - source).abs().mean() for t in (64, 8))
    assert near < far / 3  # the error falls like 1/T


@pytest.mark.slow
@pytest.mark.skipif(DATA not in os.environ, reason=f"{DATA} names no CIFAR-10 data")
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_accuracy_is_reproduced(name: str) -> None:
    record = json.loads(cifar.shipped(name).with_suffix(".json").read_text())
    pixels, labels = read_split(os.environ[DATA], "test", progress=False)
    mean, std = (torch.tensor(record[key]).view(3, 1, 1) for key in ("mean", "std"))
    model = load_model(name)
    right = 0
    with torch.inference_mode():
        for part, wanted in zip(pixels.split(500), labels.split(500), strict=True):
            right += int((model((part / 255 - mean) / std).argmax(1) == wanted).sum())
    assert 100 * right / len(labels) == pytest.approx(record["test_accuracy"], abs=0.05)
