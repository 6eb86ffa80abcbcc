"""timm and torchvision: names, weights and how images are prepared; imported where it is used."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

import timm
import torchvision
from torch import Tensor, nn

from spikeport.zoo import cifar

TORCHVISION = "torchvision/"


def check_name(name: str) -> None:
    """Raises ValueError, with close names, if neither hub has the architecture and its tag."""
    vision = torchvision.models.list_models(module=torchvision.models)
    if name.startswith(TORCHVISION):
        architecture = name.removeprefix(TORCHVISION).partition(".")[0]
        if architecture in vision:
            _torchvision_weights(name)
            return
    else:
        architecture, _, tag = name.partition(".")
        if timm.is_model(architecture):
            if tag and name not in timm.models.get_arch_pretrained_cfgs(architecture):
                raise ValueError(f"{name!r}: unknown tag {tag!r}; timm has {_tags(name)}.")
            return
    known = {TORCHVISION + key: key for key in vision} | {key: key for key in timm.list_models()}
    known |= {key: key.removeprefix(cifar.PREFIX) for key in cifar.NAMES}
    near = set(get_close_matches(architecture, set(known.values()), n=5))
    raise ValueError(
        f"{name!r}: no such model in timm, torchvision or the CIFAR-10 zoo. Close names: "
        f"{', '.join(key for key in known if known[key] in near) or 'none'}. "
        "All names: timm.list_models()."
    )


def build(name: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    """Builds a model on the CPU, in training mode.

    Args:
        name: see `load_model`.
        pretrained: with the hub's weights, otherwise random.
        kwargs: for `timm.create_model` or the torchvision builder.
    """
    if not name.startswith(TORCHVISION):
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


def download(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """Builds a model with the hub's weights.

    Raises:
        ValueError: the hub has none under this name.
        OSError: they could not be downloaded.
    """
    if not name.startswith(TORCHVISION) and not timm.is_model_pretrained(name):
        raise ValueError(
            f"{name!r}: timm has no weights under this name. Pass checkpoint=<a local file>, "
            f"checkpoint='random', or one of the tags that have weights: {_tags(name)}."
        )
    try:
        return build(name, True, kwargs)
    except OSError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"the weights of {name!r} could not be downloaded: {reason} Without a network, pass "
            "checkpoint=<a .safetensors, .pth, .pt, .th or .bin file on this machine>."
        ) from error


def convert_with_timm(
    name: str, state: Mapping[str, Tensor], kwargs: dict[str, Any]
) -> nn.Module | None:
    """Tries timm's own conversion of original checkpoints; None where it does not fit either.

    timm skips layers whose size was changed by an argument. With num_classes alone, given to both
    sides, it does not; other arguments are therefore not let through.
    """
    if name.startswith(TORCHVISION) or set(kwargs) - {"num_classes"}:
        return None
    source = {"state_dict": dict(state), "custom_load": False, **kwargs}
    try:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **kwargs)
    except Exception:  # a converter fed with foreign keys may stumble over anything
        return None
    cast(dict[str, Any], model.pretrained_cfg).pop("state_dict", None)  # a copy of all weights
    return model


def _torchvision_weights(name: str) -> tuple[str, Any]:
    architecture, _, tag = name.removeprefix(TORCHVISION).partition(".")
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


def _tags(name: str) -> str:
    return ", ".join(timm.list_pretrained(name.partition(".")[0] + ".*")) or "none"
