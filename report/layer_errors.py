"""The error that a neuron layer adds, in three parts."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikeport.convert import SpikingNeuron


class Parts(NamedTuple):
    """Of the error in a layer's mean emission; they add up to it. Each [B, ...]."""

    clipping: Tensor
    quantisation: Tensor
    unevenness: Tensor


def error_parts(neuron: SpikingNeuron, current: Tensor, emitted: Tensor, timesteps: int) -> Parts:
    """Split what a layer's mean emission lacks of its activation of the current that it had.

    With a the activation of the mean current and T timesteps:

    - clipping: ``clamp(a, −max_down·θ, max_up·θ) − a``, what it cannot emit in any time;
    - quantisation: ``θ/T·whole((T·clamp(a) + v0)/θ) − clamp(a)``, the rounding to T·max_up levels
      that is left of a neuron whose current is the same at each timestep (``Spec.whole``);
    - unevenness: the rest. By the decode identity ``mean(out) = mean(I) − (v_T − v_0)/T`` it is
      what stayed in the membrane, or came out too early and was not taken back, because the
      current came unevenly. What a correction, a leak or a hard reset does is in it too.

    Args:
        neuron: the layer.
        current: mean of its input current over the timesteps, [B, ...], activation units.
        emitted: mean of what it emitted over the same timesteps, [B, ...].
        timesteps: their number T.
    """
    theta = neuron.per_channel(neuron.threshold, current)
    lowest = -neuron.max_down if neuron.low < 0 else 0
    activation = neuron.analog(current)
    inside = activation.maximum(lowest * theta).minimum(neuron.max_up * theta)
    start = neuron.per_channel(neuron.v0, current)
    # the margin keeps a level that is met exactly from being rounded away
    total = (timesteps * inside + start) / theta
    whole = neuron.spec.whole(total + 1e-4)
    whole = whole.clamp(lowest * timesteps, neuron.max_up * timesteps)
    level = whole * theta / timesteps
    return Parts(inside - activation, level - inside, emitted - level)


def by_channel(neuron: SpikingNeuron, values: Tensor) -> Tensor:
    """Values [B, ...] of a layer as [C, N]."""
    if values.ndim == 1:  # [B] has one channel
        return values[None]
    return values.movedim(neuron.channel_dim, 0).flatten(1)


def beyond(neuron: SpikingNeuron, current: Tensor) -> Tensor:
    """Where the activation is more than the layer can emit, [B, ...], bool."""
    theta = neuron.per_channel(neuron.threshold, current)
    activation = neuron.analog(current)
    lowest = -neuron.max_down if neuron.low < 0 else 0
    slack = 1 + 1e-4
    return (activation > neuron.max_up * theta * slack) | (activation < lowest * theta * slack)


def rms(squares: float, of: float) -> float:
    """Root of a ratio of sums of squares; 0 where there is nothing."""
    return float(torch.tensor(squares / of if of else 0.0).sqrt())
