"""The digest of a network's numbers, by which one tells whether two networks have the same."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes, types and values, in hexadecimal; the device does not matter.

    Args:
        tensors: such as a ``state_dict()``; their order counts.
    """
    found = hashlib.sha256()
    for name, value in tensors.items():
        found.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
