"""The memory of a neuron: bounds of the running total of its spikes."""

import torch
from torch import Tensor


def bound(
    spikes: Tensor, total: Tensor, time: int, lowest: Tensor | None, highest: Tensor | None
) -> Tensor:
    """The spikes that keep the running total within its bounds after ``time`` timesteps.

    Args:
        spikes: of this timestep, [B, ...].
        total: before it, like the spikes.
        time: timesteps with this one.
        lowest: lower bound of the mean per timestep, broadcastable to the spikes; None for none.
        highest: upper bound of it.
    """
    # the margin keeps t·6/θ = 12 from being floored to 11 by rounding
    if lowest is not None:
        spikes = torch.maximum(spikes, torch.ceil(lowest * time - 1e-3) - total)
    if highest is not None:
        spikes = torch.minimum(spikes, torch.floor(highest * time + 1e-3) - total)
    return spikes
