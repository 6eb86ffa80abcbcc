"""Whether a tensor still holds the same numbers, however it was written to."""

import torch
from torch import Tensor

from spikeport.cpu.loader import library

Digest = tuple[int, torch.Size, torch.dtype]


def digest(values: Tensor) -> Digest:
    """A hash of the bytes, 64 bits, with shape and dtype; reads at the speed of the memory.

    A tensor's version counter and address stay the same where it is written to through ``.data``
    or NumPy, and inference tensors have no counter.

    Args:
        values: on the CPU.
    """
    dense = values.detach().contiguous()
    number = library().sp_digest(dense.data_ptr(), dense.numel() * dense.element_size())
    return int(number), values.shape, values.dtype
