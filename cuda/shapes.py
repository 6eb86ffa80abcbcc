"""The items that a thread takes at once, and the numbers that kernels compute channels with."""

from typing import Any

import torch
from torch import Tensor

ELEMENT = {torch.float32: "float", torch.float16: "half_t", torch.bfloat16: "bfloat_t"}
WORD = 32  # neurons in a packed word


def element_type(dtype: torch.dtype) -> str:
    """The kernels' name of a floating dtype; raises TypeError for another one."""
    if dtype not in ELEMENT:
        raise TypeError(f"the GPU kernels take {', '.join(map(str, ELEMENT))}, not {dtype}")
    return ELEMENT[dtype]


def vector(neurons: int, read: Tensor, *others: Tensor | None) -> int:
    """Neighbours that a thread takes: as many as fill 16 bytes of what it reads, or 1.

    Args:
        neurons: of a row.
        read: the array whose element type decides.
        others: arrays that have to be aligned too.
    """
    many = 16 // read.element_size()
    arrays = [array for array in (read, *others) if array is not None]
    aligned = all(array.data_ptr() % 16 == 0 for array in arrays)
    return many if neurons % many == 0 and aligned else 1


def groups(neurons: int, many: int) -> int:
    """Threads for a row, each with ``many`` neighbours."""
    return -(-neurons // many)


def channel_numbers(neurons: int, channels: int, inner: int) -> dict[str, Any]:
    """The arguments C, inner and image_inverse of a kernel; see channels.cuh.

    Args:
        neurons: N.
        channels: C.
        inner: neighbours in memory that share a channel.

    Raises:
        ValueError: sizes for which the product with the inverse would not be exact.
    """
    image = channels * inner
    if image >= 2**31 or neurons * image >= 2**64 or (image and neurons % image):
        raise ValueError(
            f"{neurons} neurons, {channels} channels with {inner} neighbours each: expected whole "
            "images of fewer than 2^31 neurons; use smaller batches"
        )
    inverse = 0 if image <= 1 else 2**64 // image + 1
    return {"C": channels, "inner": inner, "image_inverse": inverse}


def words_of(neurons: int) -> int:
    """Words of one plane of a row of neurons."""
    return -(-neurons // WORD)
