"""Weights that are integers times a scale: those of networks trained with quantised weights.

Nothing is noted at conversion: whether weights lie on a grid can be told from the weights, also
after a batch norm was folded into them, in a copy, and in a network that was saved and loaded.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

MOST = 128  # the largest integer, that of 8 bits
OFF = 2e-4  # of a step: rounding of float32, of which a folded batch norm adds some


@dataclass(frozen=True)
class WeightGrid:
    """``weight = integers · scale``, up to rounding.

    Attributes:
        integers: int16, shaped like the weight.
        scale: float, broadcasts against the weight: one for each output channel.
    """

    integers: Tensor
    scale: Tensor

    @property
    def bits(self) -> int:
        """Bits of the integers in two's complement: -128 to 127 are 8."""
        low, high = int(self.integers.min()), int(self.integers.max())
        return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


@torch.no_grad()
def weight_grid(weight: Tensor, dim: int | None = 0, most: int = MOST) -> WeightGrid | None:
    """The coarsest grid on which weights lie; None where they lie on none.

    Args:
        weight: of a layer, any shape.
        dim: of the output channels, each of which has a scale of its own; None: one for all.
        most: the largest integer, in absolute value.
    """
    moved = weight.detach().double()
    rows = moved.reshape(1, -1) if dim is None else moved.movedim(dim, 0).flatten(1)
    scales = []
    for row in rows:  # most weights are on no grid, which the first row tells
        scale = _scale(row, most)
        if scale is None:
            return None
        scales.append(scale)
    sides = [1] * weight.ndim
    if dim is not None:
        sides[dim] = -1
    scale = torch.stack(scales).view(sides)
    return WeightGrid((moved / scale).round().to(torch.int16), scale.to(weight.dtype))


def _scale(row: Tensor, most: int) -> Tensor | None:
    """The largest number of which all others of a row are multiples, up to ``most``."""
    values = row.abs().unique()
    values = values[values > 1e-7 * values[-1]]
    if not len(values):
        return row.new_ones(())
    if len(values) > most:
        return None
    parts = torch.arange(1, most + 1, dtype=row.dtype, device=row.device)
    steps = values / (values[0] / parts)[:, None]  # [most, values]
    whole = (steps - steps.round()).abs().amax(1) <= OFF
    fits = (whole & (steps.amax(1) <= most + 0.5)).nonzero()
    if not len(fits):
        return None
    integers = steps[fits[0, 0]].round()
    return (values * integers).sum() / integers.square().sum()  # rounding errors cancel


def grid_of(layer: nn.Module) -> WeightGrid | None:
    """The grid of the weights of a convolution or linear layer; None for others and without one."""
    weight = getattr(layer, "weight", None)
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return None
    if transposed:
        return weight_grid(weight, 1 if layer.groups == 1 else None)
    return weight_grid(weight)
