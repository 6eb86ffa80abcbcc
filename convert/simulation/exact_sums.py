"""Sums of whole numbers by torch on a GPU, with nothing rounded on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_sums(device: torch.device) -> Iterator[None]:
    """Let the convolutions and matrix products inside take all bits of their operands.

    By default cuDNN rounds the operands of a float32 convolution to the 11 bits of TF32, where a
    weight of 4097 becomes 4096. What is left is the algorithm: Winograd's and a Fourier transform
    add up fractions, and miss a whole number by far less than a half; so a neuron whose potential
    is a whole number rounds its current (``Neuron.charge``, neuron.cuh).

    The settings are torch's own, of the whole process: they are put back behind each chunk, and the
    products of other threads in that time are more exact too.

    Args:
        device: of the operands; nothing is changed for another one than a GPU.
    """
    if device.type != "cuda":
        yield
        return
    settings = _settings()
    before = [getattr(owner, name) for owner, name, _ in settings]
    for owner, name, exact in settings:
        setattr(owner, name, exact)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


def _settings() -> list[tuple[Any, str, Any]]:
    """Owner, name and exact value of each setting, in this version of torch."""
    cudnn: Any = torch.backends.cudnn
    product = torch.backends.cuda.matmul
    if hasattr(product, "fp32_precision"):  # torch 2.9; mixing it with the older names raises
        return [(cudnn.conv, "fp32_precision", "ieee"), (product, "fp32_precision", "ieee")]
    return [(cudnn, "allow_tf32", False), (product, "allow_tf32", False)]
