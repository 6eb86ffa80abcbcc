"""The unit of a group of currents: small enough for its weights, a whole part of a threshold."""

from dataclasses import dataclass

import torch
from torch import Tensor

FEWEST = 8  # units in a threshold, where a finer unit than the weights ask for can give them
MOST_SHIFT = 3  # powers of 2 by which it is finer: sums of larger weights would not be exact
WITHOUT_WEIGHTS = 1024  # units in a threshold that no weights decide about
ROOM = 8  # thresholds that a potential can hold at least


@dataclass(frozen=True)
class Unit:
    """The unit of each channel of a group.

    Attributes:
        size: activation units, [C] float64.
        shift: powers of 2 by which it is smaller than the weights ask for, [C].
    """

    size: Tensor
    shift: Tensor


def unit_of(
    finest: Tensor | None,
    threshold: Tensor | None,
    potential_bits: int,
    powers_of_two: bool,
    on_grid: bool = False,
) -> Unit:
    """The unit for weights and neurons, both per channel.

    Args:
        finest: unit in which the weights are whole numbers of 8 bits, [C]; 0 where all are 0; None
            without weights.
        threshold: of the first neurons that integrate the currents, [C], activation units; None
            without neurons.
        potential_bits: width of a potential.
        powers_of_two: thresholds of 1, 2, 4 … units.
        on_grid: the weights are whole numbers of the finest unit already, so that a unit that is a
            little smaller cuts nothing off.
    """
    if threshold is None:
        assert finest is not None  # a group has one or the other
        size = torch.where(finest > 0, finest, 1.0)
        return Unit(size, torch.zeros_like(size))
    most = 2.0 ** (potential_bits - 1) / ROOM
    count = torch.full_like(threshold, min(WITHOUT_WEIGHTS, most))
    shift = torch.zeros_like(count)
    if finest is not None:
        count = torch.where(finest > 0, threshold / finest, count)
        shift = (FEWEST / count).log2().ceil().clamp(0, MOST_SHIFT)
        count = count * 2.0**shift
    count = count.clamp_max(most)
    least = threshold / count
    rest = 0.5 if on_grid else 1e-6
    count = 2.0 ** count.log2().floor() if powers_of_two else (count + rest).floor()
    # where one spike of an input is worth far more than the threshold, that is the unit
    size = torch.where(count < 1, least, threshold / count.clamp_min(1.0))
    return Unit(size, shift)
