"""Structures of tensors as one row of numbers for each image."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def packed(value: Any, batch: int) -> Tensor:
    """All tensors of a value as one, [B, positions]."""
    leaves = [v for v in pytree.tree_leaves(value) if isinstance(v, Tensor)]
    return torch.cat([v.reshape(batch, -1) for v in leaves], 1)


def unpacked(flat: Tensor, like: Any) -> Any:
    """The inverse of ``packed``."""
    leaves, form = pytree.tree_flatten(like)
    tensors = [v for v in leaves if isinstance(v, Tensor)]
    sizes = [v.numel() // len(flat) for v in tensors]
    parts = iter(p.reshape(v.shape) for p, v in zip(flat.split(sizes, 1), tensors, strict=True))
    filled = [next(parts).to(v.dtype) if isinstance(v, Tensor) else v for v in leaves]
    return pytree.tree_unflatten(filled, form)


def cloned(value: Any) -> Any:
    return pytree.tree_map_only(Tensor, Tensor.clone, value)
