"""Outputs of networks: a tensor, or tensors within dicts, tuples and lists."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError

WHOLE = "output"


def is_float(leaf: Any) -> bool:
    """Whether it is a tensor of floating point numbers."""
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def tensors(output: Any) -> list[Tensor]:
    """The tensors of floating point numbers in an output, in its order."""
    return [leaf for leaf in pytree.tree_leaves(output) if is_float(leaf)]


def flat(output: Any) -> Tensor:
    """All numbers of an output, [B, N].

    Raises:
        ConversionError: it holds no float tensor.
    """
    leaves = tensors(output)
    if not leaves:
        raise ConversionError("the network's output holds no float tensor; there is no error in it")
    return torch.cat([leaf.flatten(1) if leaf.ndim > 1 else leaf[:, None] for leaf in leaves], 1)


def named_tensors(output: Any) -> dict[str, Tensor]:
    """The float tensors of an output by their place in it: "boxes", "0", "heads.1".

    An output that is one tensor is called "output".
    """
    leaves, _ = pytree.tree_flatten_with_path(output)
    return {".".join(map(_step, path)) or WHOLE: leaf for path, leaf in leaves if is_float(leaf)}


def _step(key: Any) -> str:
    """An entry of a path: of a dict, a sequence or a named tuple."""
    for kind in ("key", "idx", "name"):
        if hasattr(key, kind):
            return str(getattr(key, kind))
    return str(key)
