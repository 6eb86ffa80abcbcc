"""Outputs of networks: a tensor, or tensors within dicts, tuples and lists."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError


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


def squares(output: Any, subtract: Any = None) -> float:
    """Sum of the squares of all numbers, less those of another output of the same form."""
    values = tensors(output)
    others: Any = [0.0] * len(values) if subtract is None else tensors(subtract)
    pairs = zip(values, others, strict=True)
    return sum(float((value - other).double().square().sum()) for value, other in pairs)
