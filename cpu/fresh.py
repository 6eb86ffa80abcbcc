"""Memory that C code reads and writes: float32 on the CPU, whatever torch's defaults are."""

from collections.abc import Sequence

import torch
from torch import Tensor


def uninitialised(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A contiguous tensor on the CPU that holds anything."""
    return torch.empty(tuple(shape), dtype=dtype, device="cpu")


def filled(shape: Sequence[int], value: float) -> Tensor:
    """A contiguous float32 tensor on the CPU that holds ``value`` everywhere."""
    return torch.full(tuple(shape), value, dtype=torch.float32, device="cpu")
