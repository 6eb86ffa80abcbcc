"""Weights as whole numbers: the step between them, and which one each weight becomes."""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 8  # bits of the largest whole number; weights of fewer bits are multiples of a power of 2
CLIPPED = torch.linspace(0.4, 1.0, 25, dtype=torch.float64)  # shares of the range that are tried


@dataclass(frozen=True)
class WeightCode:
    """The whole numbers that weights of some bits may be, in units of the potential.

    They are ``code · 2^shift`` with codes of ``bits`` bits, symmetric about 0.

    Attributes:
        bits: of a code, 2 to 8.
        shift: per output channel, [C], whole; more than ``8 − bits`` only where a threshold would
            otherwise be too few units.
    """

    bits: int
    shift: Tensor

    @property
    def most(self) -> int:
        """The largest code."""
        return 2 ** (self.bits - 1) - 1

    def nearest(self, weight: Tensor, unit: Tensor) -> Tensor:
        """The nearest whole numbers, in units.

        Args:
            weight: rows [..., C, N], activation units per spike.
            unit: [C].
        """
        step = self.step(unit)[..., None]
        codes = (weight / step).round().clamp(-self.most, self.most)
        return codes * (2.0**self.shift)[..., None] + 0.0  # no negative zeros

    def step(self, unit: Tensor) -> Tensor:
        """The activation units between two codes, [C]."""
        return unit * 2.0**self.shift


def finest_unit(weight: Tensor, bits: int, clip: bool) -> Tensor:
    """The smallest unit in which the weights of each channel are whole numbers of 8 bits, [C].

    Args:
        weight: rows [C, N], activation units per spike.
        bits: of a code.
        clip: cut off the largest weights where that makes the squared error smaller.
    """
    most = (2 ** (bits - 1) - 1) * 2.0 ** (LARGEST - bits)
    top = weight.abs().amax(1)
    if not clip:
        return top / most
    code = WeightCode(bits, torch.full_like(top, LARGEST - bits))
    best, error = top / most, torch.full_like(top, torch.inf)
    for share in CLIPPED.to(weight.device):
        unit = (top * share / most).clamp_min(1e-30)
        rounded = code.nearest(weight, unit) * unit[:, None]
        found = (rounded - weight).square().sum(1)
        best, error = torch.where(found < error, unit, best), torch.minimum(found, error)
    return best


def with_feedback(
    weight: Tensor, unit: Tensor, code: WeightCode, moments: Tensor, damping: float = 0.01
) -> Tensor:
    """Whole numbers that keep a layer's output: errors of earlier weights are made up for by later
    ones (GPTQ: Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative
    Pre-trained Transformers").

    Args:
        weight: rows [G, C, N], activation units per spike, float64.
        unit: [G, C].
        code: with a shift [G, C].
        moments: mean products of the N inputs of a group, [G, N, N].
        damping: share of the mean diagonal that is added to it.

    Returns:
        Shaped like the weight.
    """
    left, size = weight.clone(), weight.shape[-1]
    diagonal = moments.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(1).clamp_min(1e-12)
    eye = torch.eye(size, dtype=weight.dtype, device=weight.device)
    inverse = torch.linalg.inv(moments + damping * mean[:, None, None] * eye)
    factor = torch.linalg.cholesky(inverse, upper=True)
    found = torch.zeros_like(weight)
    step, height = code.step(unit), 2.0**code.shift
    for column in range(size):
        codes = (left[..., column] / step).round().clamp(-code.most, code.most)
        found[..., column] = codes * height
        pivot = factor[:, column, column][:, None]
        error = (left[..., column] - codes * step) / pivot
        rest = factor[:, None, column, column:]
        left[..., column:] -= error[..., None] * rest
    return found + 0.0
