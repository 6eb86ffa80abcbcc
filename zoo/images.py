"""Images as a model wants them: preparation, folders of files, and the split that keeps
calibration images out of the evaluation."""

import os
from collections.abc import Callable, Mapping, Sized
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

_CONFIG_KEYS = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")


def input_config(model: nn.Module) -> dict[str, Any]:
    """Says how images are prepared for a model.

    Args:
        model: a timm model or one from `load_model`. For a model that carries no configuration
            the ImageNet defaults of timm (bicubic) or torchvision (bilinear) are returned.

    Returns:
        Strings, numbers and lists only, so it can be saved as JSON: input_size [C, H, W], mean and
        std [C] of pixels in [0, 1], interpolation, crop_pct (the part of the short edge that the
        crop keeps), crop_mode.
    """
    from timm.data.config import resolve_model_data_config

    config = resolve_model_data_config(model)
    bare = not getattr(model, "pretrained_cfg", None)
    if bare and type(model).__module__.startswith("torchvision."):
        config["interpolation"] = "bilinear"
    plain = {key: config[key] for key in _CONFIG_KEYS}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def make_transform(config: Mapping[str, Any]) -> Callable[[Image.Image], Tensor]:
    """Makes the evaluation transform: resize, centre crop, normalise.

    Args:
        config: from `input_config`.

    Returns:
        A function from a PIL image to a tensor [C, H, W].

    Raises:
        ValueError: the configuration has other keys than `input_config` gives.
    """
    from timm.data.transforms_factory import create_transform

    if set(config) != set(_CONFIG_KEYS):
        raise ValueError(
            f"the input configuration has the keys {sorted(config)}, expected "
            f"{sorted(_CONFIG_KEYS)}. Take it from input_config(model)."
        )
    return create_transform(**{**config, "input_size": tuple(config["input_size"])})


def image_folder(
    path: str | os.PathLike[str], config: Mapping[str, Any], classes: int | None = None
) -> Dataset[tuple[Tensor, int]]:
    """Opens a folder of images as a data set.

    The label is read from the name of the class folder, by the first rule that fits all of them:
    integers ("007") are the label itself; WordNet ids ("n01440764") are the ImageNet index, if
    `classes` is None or the size of an ImageNet; other names are numbered in sorted order, as
    torchvision does. A folder without class folders gives the label -1, which suits
    calibration and agreement but no accuracy. Images beside class folders are left out, and so are
    hidden folders.

    Args:
        path: the folder.
        config: from `input_config`; with input_size[0] == 1 the images are read as grey.
        classes: number of outputs of the model, to check labels against; None checks nothing.

    Returns:
        A data set of (tensor [C, H, W], label), sorted by class folder and file name, with
        `samples`, the list of (file, label).

    Raises:
        FileNotFoundError: no such folder, or no images in it.
        ValueError: a label beyond `classes`, two folders with one label, an unknown WordNet id.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"image folder {str(root)!r}: no such folder.")
    from spikeport.zoo.class_folders import ClassFolders, endings

    mode = "L" if config["input_size"][0] == 1 else "RGB"
    data = ClassFolders(root, make_transform(config), partial(_read, mode=mode), classes)
    if not data.samples:
        raise FileNotFoundError(
            f"image folder {str(root)!r}: no images, neither in it nor in its class folders. "
            f"Expected files that end in {', '.join(endings())}."
        )
    return data


def split(
    dataset: Dataset[Any], calibration: int = 100, evaluation: int = 200, seed: int = 0
) -> tuple[Subset[Any], Subset[Any]]:
    """Draws images to calibrate on and other images to evaluate on.

    The evaluation images depend on `evaluation` and `seed` alone, so that results with more or
    fewer calibration images compare.

    Args:
        dataset: a data set with a length.
        calibration: number of calibration images.
        evaluation: number of evaluation images.
        seed: the same seed gives the same images, whatever torch's global generator holds.

    Returns:
        (calibration images, evaluation images), without a common index.

    Raises:
        ValueError: a negative number, or fewer images than both together.
    """
    total = len(dataset) if isinstance(dataset, Sized) else 0
    if min(calibration, evaluation) < 0 or calibration + evaluation > total:
        raise ValueError(
            f"cannot take {calibration} calibration and {evaluation} evaluation images from a "
            f"data set of {total}. Ask for fewer or add images; none may serve for both."
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    return Subset(dataset, order[evaluation:][:calibration]), Subset(dataset, order[:evaluation])


def _read(path: str, mode: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert(mode)
