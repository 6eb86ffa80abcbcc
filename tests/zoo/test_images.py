"""Preparation of images, label rules, and the split."""

import json
import math
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch.utils.data import TensorDataset

from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.class_folders import UNKNOWN
from spikeport.zoo.images import image_folder, input_config, make_transform, split

CONFIG = {
    "input_size": [3, 32, 32],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bilinear",
    "crop_pct": 0.875,
    "crop_mode": "center",
}


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50), (255, 0, 0)).save(root / name)
    return root


def labels(root: Path, classes: int | None = None) -> list[int]:
    return [label for _, label in image_folder(root, CONFIG, classes)]


def test_config_of_timm_survives_json() -> None:
    config = input_config(timm.create_model("tf_efficientnet_lite0"))
    assert json.loads(json.dumps(config)) == config
    assert config["mean"] == [0.5, 0.5, 0.5]
    assert config["input_size"] == [3, 224, 224]
    assert make_transform(config)(Image.new("RGB", (300, 260))).shape == (3, 224, 224)


def test_config_of_torchvision() -> None:
    config = input_config(load_model("torchvision/squeezenet1_1", "random"))
    assert config["interpolation"] == "bilinear"
    assert config["crop_pct"] == 0.875
    assert input_config(torchvision.models.squeezenet1_1())["interpolation"] == "bilinear"
    assert input_config(torch.nn.Linear(1, 1))["crop_pct"] == 0.875


def test_torchvision_transform_is_reproduced() -> None:
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    values = torch.randint(0, 255, (400, 300, 3), generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(values.to(torch.uint8).numpy())
    config = input_config(load_model("torchvision/resnet50", "random"))
    assert math.floor(224 / config["crop_pct"]) == 232
    torch.testing.assert_close(make_transform(config)(image), weights.transforms()(image))


def test_incomplete_config() -> None:
    with pytest.raises(ValueError, match="input_config"):
        make_transform({"input_size": [3, 32, 32]})


def test_integer_folders_are_labels(tmp_path: Path) -> None:
    write(tmp_path, "007/a.png", "10/b.png", ".hidden/c.png")
    assert labels(tmp_path) == [7, 10]
    with pytest.raises(ValueError, match="'10' .* means label 10, but the model has 10 classes"):
        labels(tmp_path, classes=10)


def test_two_folders_of_one_label(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'07' and '7'"):
        labels(write(tmp_path, "07/a.png", "7/a.png"))


def test_wordnet_folders(tmp_path: Path) -> None:
    write(tmp_path, "n01443537/a.png", "n15075141/b.png")
    assert labels(tmp_path) == labels(tmp_path, classes=1000) == [1, 999]
    assert labels(tmp_path, classes=2) == [0, 1]  # a model of its own, trained on two classes
    write(tmp_path, "n99999999/c.png")
    with pytest.raises(ValueError, match="'n99999999' .*no class of imagenet-1k"):
        labels(tmp_path)


def test_other_folders_are_numbered_in_order(tmp_path: Path) -> None:
    write(tmp_path, "dog/a.png", "cat/deep/b.png", "3/c.png")
    assert labels(tmp_path) == [0, 1, 2]
    with pytest.raises(ValueError, match="'dog' .* means label 2, but the model has 2"):
        labels(tmp_path, classes=2)


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    data = image_folder(write(tmp_path, "b.png", "a.JPEG"), CONFIG, classes=10)
    assert [label for _, label in data] == [UNKNOWN, UNKNOWN]
    image, _ = data[0]
    assert image.shape == (3, 32, 32)
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([1.0, -1.0, -1.0]), rtol=0, atol=0.02)


def test_grey_images(tmp_path: Path) -> None:
    grey = CONFIG | {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.5]}
    image, _ = image_folder(write(tmp_path, "a.png"), grey)[0]
    assert image.shape == (1, 32, 32)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        image_folder(tmp_path / "nowhere", CONFIG)
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="no images"):
        image_folder(tmp_path, CONFIG)


def test_split_is_disjoint_and_repeatable() -> None:
    data = TensorDataset(torch.arange(50))
    calibration, evaluation = split(data, 20, 30)
    assert len(calibration) == 20
    assert sorted([*calibration.indices, *evaluation.indices]) == list(range(50))
    torch.manual_seed(5)
    again = split(data, 20, 30)
    assert (again[0].indices, again[1].indices) == (calibration.indices, evaluation.indices)
    assert split(data, 20, 30, seed=1)[1].indices != evaluation.indices
    fewer = split(data, 5, 30)
    assert fewer[1].indices == evaluation.indices
    assert fewer[0].indices == calibration.indices[:5]


@pytest.mark.parametrize(("calibration", "evaluation"), [(20, 31), (-1, 10), (51, 0)])
def test_split_refuses(calibration: int, evaluation: int) -> None:
    with pytest.raises(ValueError, match="data set of 50"):
        split(TensorDataset(torch.arange(50)), calibration, evaluation)
