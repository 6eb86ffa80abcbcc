"""The error that a neuron layer adds, in three parts."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikeport.convert import NeuronLayer


class Parts(NamedTuple):
    """Parts of the error in a layer's mean emission; they add up to it. Each [B, ...]."""

    clipping: Tensor
    quantization: Tensor
    unevenness: Tensor


def error_parts(
    neuron: NeuronLayer, current: Tensor, emitted: Tensor, timesteps: int, start: int = 0
) -> Parts:
    """Split what a layer's mean emission lacks of its activation of the current that it had.

    With a the activation of the mean current and r the most that the layer can emit (max_up·θ):

    - clipping: ``clamp(a, −r, r) − a``, what it cannot emit in any time;
    - quantization: ``Q(clamp(a)) − clamp(a)``, where Q is the mean emission of the same neuron for
      a current that is the same at every timestep: a rounding to T·max_up levels;
    - unevenness: the rest. By the decode identity ``mean(out) = mean(I) − (v_T − v_0)/T`` it is
      what stayed in the membrane, or came out too early and was not taken back, because the
      current came unevenly. What a correction does is in it too.

    Args:
        neuron: the layer.
        current: mean of its input current over the timesteps of the readout, [B, ...], in the
            neurons' units.
        emitted: mean of what it emitted over the same timesteps, [B, ...].
        timesteps: T.
        start: timesteps that the readout leaves out.
    """
    activation = neuron.analog(current)
    lowest, highest = _reach(neuron, current, timesteps)
    inside = activation.maximum(lowest).minimum(highest)
    level = _steady(neuron, inside, timesteps, start)
    return Parts(inside - activation, level - inside, emitted - level)


def _steady(neuron: NeuronLayer, current: Tensor, timesteps: int, start: int) -> Tensor:
    """Mean emission for one current at every timestep, without corrections, [B, ...]."""
    total, state = torch.zeros_like(current), None
    for time in range(timesteps):
        now = current
        if time < len(neuron.correction):
            now = now - neuron.per_channel(neuron.correction[time], current)
        out, state = neuron(now[None], state)
        if time >= start:
            total += out[0]
    return total / (timesteps - start)


def _reach(neuron: NeuronLayer, current: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
    """The least and the most that the layer's mean emission can be."""
    value = neuron.per_channel(neuron.value, current)
    lowest, highest = neuron.model.reach(timesteps)
    return value * (lowest if neuron.low < 0 else 0), value * highest


def by_channel(neuron: NeuronLayer, values: Tensor) -> Tensor:
    """Values [B, ...] of a layer as [C, N]."""
    if values.ndim == 1:  # [B] has one channel
        return values[None]
    return values.movedim(neuron.channel_dim, 0).flatten(1)


def beyond(neuron: NeuronLayer, current: Tensor, timesteps: int) -> Tensor:
    """A mask of activations beyond what the layer can emit, [B, ...], bool."""
    activation = neuron.analog(current)
    lowest, highest = _reach(neuron, current, timesteps)
    slack = 1 + 1e-4
    return (activation > highest * slack) | (activation < lowest * slack)


def rms(squares: float, of: float) -> float:
    """Root of a ratio of sums of squares; 0 where there is nothing."""
    return float(torch.tensor(squares / of if of else 0.0).sqrt())
