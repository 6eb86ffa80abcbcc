"""CIFAR-10 models by name, with shipped weights or a local file."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from spikeport.zoo import cifar_resnet, cifar_vgg, state_dicts
from spikeport.zoo.cifar_resnet import DEPTHS, CifarResNet
from spikeport.zoo.cifar_vgg import CifarVGG

PREFIX = "cifar10/"
SIZE = 32
# In the order of the labels, which is also the alphabetical order that folders are read in.
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

WEIGHTS = Path(__file__).parent / "weights"

# The ImageNet statistics, which the common public CIFAR-10 checkpoints were trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

CifarModel = CifarResNet | CifarVGG

# name: (class, arguments, module that knows the spellings of its checkpoints)
_MODELS: dict[str, tuple[Callable[..., CifarModel], dict[str, Any], ModuleType]] = {
    **{f"resnet{depth}": (CifarResNet, {"depth": depth}, cifar_resnet) for depth in DEPTHS},
    "vgg16": (CifarVGG, {}, cifar_vgg),
    "vgg16-thin": (CifarVGG, {"width": 0.25}, cifar_vgg),
}
NAMES = tuple(PREFIX + key for key in _MODELS)


def build(name: str, **kwargs: Any) -> CifarModel:
    """Builds a model with random weights, from torch's global generator.

    Args:
        name: one of `NAMES`, "cifar10/resnet20".
        **kwargs: for `CifarResNet` or `CifarVGG`; or `mean` and `std` [3] of pixels in [0, 1], how
            images are normalised for it.

    Returns:
        The model on the CPU, in training mode. Its `pretrained_cfg` says how images are prepared.

    Raises:
        ValueError: an unknown name; an argument out of range.
    """
    check_name(name)
    mean, std = kwargs.pop("mean", MEAN), kwargs.pop("std", STD)
    kind, given, _ = _MODELS[name.removeprefix(PREFIX)]
    model = kind(**{**given, **kwargs})
    model.pretrained_cfg = {
        "architecture": name,
        "num_classes": len(CLASSES),
        "input_size": (3, SIZE, SIZE),
        "mean": tuple(mean),
        "std": tuple(std),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    return model


def load(name: str, checkpoint: str | os.PathLike[str] | None = None, **kwargs: Any) -> CifarModel:
    """Builds a model and fills it with trained weights.

    A file `X.json` beside `X.safetensors` (or .th, .pt, ...) may hold "mean" and "std", how images
    were normalised in training; without it the ImageNet statistics are assumed.

    Args:
        name: one of `NAMES`.
        checkpoint: a .safetensors, .pt, .pth, .th or .bin file; None: the weights that come with
            Spikeport.
        **kwargs: as for `build`.

    Returns:
        The model on the CPU, in training mode.

    Raises:
        ValueError: an unknown name; a model that comes without weights; weights that do not fit
            (the message lists the keys); a damaged file.
        FileNotFoundError: there is no such checkpoint.
    """
    check_name(name)
    path = shipped(name) if checkpoint is None else Path(checkpoint).expanduser()
    state = state_dicts.read_state_dict(path)
    spelling = _MODELS[name.removeprefix(PREFIX)][2]
    state = spelling.rename(state)
    model = build(name, **{**_normalization(path), **spelling.arguments(state), **kwargs})
    state_dicts.fill(model, state, f"checkpoint {str(path)!r}")
    return model


def shipped(name: str) -> Path:
    """The weights that come with Spikeport for a model; beside them `.json`, how they were made.

    Raises:
        ValueError: there are none.
    """
    file = _file(name)
    if not file.is_file():
        have = ", ".join(other for other in NAMES if _file(other).is_file())
        raise ValueError(
            f"{name!r}: Spikeport brings no weights for this model, only for {have or 'none'}. "
            "Pass checkpoint=<a local file>, or train it: "
            f"python -m spikeport.scripts.experiments.train_cifar {name} --data DIR -o OUT."
        )
    return file


def check_name(name: str) -> None:
    """Raises ValueError, with all names, if there is no such model."""
    if name not in NAMES:
        raise ValueError(f"{name!r}: no such model for CIFAR-10. There are {', '.join(NAMES)}.")


def _file(name: str) -> Path:
    return WEIGHTS / f"{name.replace('/', '_')}.safetensors"


def _normalization(path: Path) -> dict[str, Any]:
    side = path.with_suffix(".json")
    if not side.is_file():
        return {}
    try:
        content: Any = json.loads(side.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(side)!r}, beside the checkpoint, is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{str(side)!r}, beside the checkpoint, does not hold a JSON object.")
    return {key: content[key] for key in ("mean", "std") if key in content}
