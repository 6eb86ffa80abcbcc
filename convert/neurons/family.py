"""The one neuron family: soft-reset integrate and fire with several spikes per step, both signs.

``IF`` (Rueckauer et al. 2017, "Conversion of Continuous-Valued Deep Networks to Efficient
Event-Driven Networks"), burst (Li & Zeng 2022, "Efficient and Accurate Conversion of Spiking
Neural Network with Burst Spikes"), signed with memory (Wang et al. 2022, "Signed Neuron with
Memory") and multi-level neurons are settings of its integers.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikeport.convert.errors import ConversionError


@dataclass(frozen=True)
class Neuron:
    """How a neuron fires; one for a whole network.

    Attributes:
        max_up: most spikes in one timestep, >= 1. More than one is a graded (multi-level) event.
        max_down: most negative spikes in one timestep, >= 0. They take back what was emitted too
            early: the running total of the spikes stays in the range of the activation.
        leak: factor on the membrane potential before each timestep, in (0, 1]; 1 is IF, the only
            value for which the output converges to the source network's.
        hard_reset: a neuron that fires loses all of its potential, not just what it emitted.
    """

    max_up: int = 1
    max_down: int = 0
    leak: float = 1.0
    hard_reset: bool = False

    def __post_init__(self) -> None:
        for name, least in (("max_up", 1), ("max_down", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConversionError(f"Neuron.{name} is {value!r}; expected an int >= {least}")
        if isinstance(self.leak, (bool, str)) or not 0 < self.leak <= 1:
            raise ConversionError(f"Neuron.leak is {self.leak!r}; expected 0 < leak <= 1")

    @property
    def levels(self) -> int:
        """Values that one timestep can take, 0 included."""
        return self.max_up + self.max_down + 1

    def both_signs(self) -> "Neuron":
        """This neuron for a quantity that is not a ReLU's: as many spikes down as up."""
        return replace(self, max_down=max(self.max_up, self.max_down))


class State(NamedTuple):
    """What a neuron carries from one timestep to the next.

    Attributes:
        v: membrane potential, [B, ...], activation units.
        total: spikes emitted so far, signed, [B, ...]; None where no bound needs it.
        time: timesteps so far.
    """

    v: Tensor
    total: Tensor | None
    time: int


class SpikingNeuron(nn.Module):
    """A layer of neurons in the place of an activation ``clamp(x, low, high)``.

    Args:
        spec: how it fires.
        channels: number of channels C of its input.
        low: lower end of the activation's range, <= 0: 0 for a ReLU, -inf for a linear quantity.
        high: upper end, >= 0: inf, or 6 for a ReLU6.
        channel_dim: where the channels stand in [B, ...]: 1, or -1 for [B, ..., C].

    Attributes:
        threshold: firing threshold θ, [C], activation units; nan until calibrated.
        v0: membrane potential before the first timestep, [C], activation units.
    """

    op_name = "neuron"

    def __init__(
        self,
        spec: Neuron,
        channels: int,
        low: float = 0.0,
        high: float = math.inf,
        channel_dim: int = 1,
    ) -> None:
        super().__init__()
        if not low <= 0 <= high:
            raise ConversionError(f"the range [{low}, {high}] of a neuron has to contain 0")
        self.spec = spec if low == 0 else spec.both_signs()
        self.low, self.high, self.channel_dim = float(low), float(high), channel_dim
        self.threshold = nn.Parameter(torch.full((channels,), math.nan), requires_grad=False)
        self.v0 = nn.Parameter(torch.zeros(channels), requires_grad=False)

    @property
    def max_up(self) -> int:
        """Most spikes in one timestep."""
        return self.spec.max_up

    @property
    def max_down(self) -> int:
        """Most negative spikes in one timestep."""
        return self.spec.max_down

    def analog(self, x: Tensor) -> Tensor:
        """The activation that the neurons stand for, of [B, ...]."""
        return x.clamp(self.low, self.high)

    def forward(self, current: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over the timesteps of a chunk.

        Args:
            current: input current, [T, B, ...], activation units.
            state: where the last chunk ended; None to start at ``v0``.

        Returns:
            The emitted values (spikes times threshold), [T, B, ...], and the state after them.
        """
        threshold = self.per_channel(self.threshold, current[0])
        if state is None:
            state = self.start(current[0])
        lowest, highest = self._total_bounds(threshold)
        emitted = []
        for now in current:
            out, state = step(now, state, threshold, self.spec, lowest, highest)
            emitted.append(out)
        return (torch.stack(emitted) if len(emitted) > 1 else emitted[0][None]), state

    def start(self, like: Tensor) -> State:
        """The state before the first timestep, for an input shaped like [B, ...]."""
        v = self.per_channel(self.v0, like).expand_as(like)
        bounded = self._total_bounds(self.per_channel(self.threshold, like)) != (None, None)
        return State(v, torch.zeros_like(like) if bounded else None, 0)

    def per_channel(self, values: Tensor, like: Tensor) -> Tensor:
        """Shape [C] values so that they broadcast against [B, ...]."""
        if values.ndim != 1 or like.ndim == 1:  # [B] has one channel
            return values.to(like.dtype)
        shape = [1] * like.ndim
        shape[self.channel_dim] = -1
        return values.view(shape).to(like.dtype)

    def _total_bounds(self, threshold: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Bounds of (running total / time) in spikes; None where capacity keeps it inside anyway.

        A ReLU's total never falls below 0 and a ReLU6's mean never exceeds 6: the memory of
        signed neurons, for any range.
        """
        slack = 1 + 1e-5
        low, high = self.low / threshold, self.high / threshold
        need_low = bool((-low * slack < self.max_down).any())
        need_high = bool((high * slack < self.max_up).any())
        return (low if need_low else None), (high if need_high else None)

    def extra_repr(self) -> str:
        """Shown by print(network)."""
        return (
            f"{self.max_up} up, {self.max_down} down, range [{self.low:g}, {self.high:g}], "
            f"{self.threshold.numel()} channels"
        )


def step(
    current: Tensor,
    state: State,
    threshold: Tensor,
    spec: Neuron,
    lowest: Tensor | None = None,
    highest: Tensor | None = None,
) -> tuple[Tensor, State]:
    """One timestep: integrate, fire, reset. The definition that every backend repeats.

    Args:
        current: [B, ...], activation units.
        state: before the timestep.
        threshold: θ, broadcastable to the current.
        spec: how the neuron fires.
        lowest: lower bound of the mean spike count per timestep so far (<= 0), or None.
        highest: upper bound of it (>= 0), or None.

    Returns:
        The emitted values, spike counts n times θ, [B, ...], and the state after the timestep.
    """
    v = (state.v if spec.leak == 1 else state.v * spec.leak) + current
    spikes = (v / threshold).floor_().clamp_(-spec.max_down, spec.max_up)
    time, total = state.time + 1, state.total
    if total is not None:
        # the margin keeps t·6/θ = 12 from being floored to 11 by rounding
        if lowest is not None:
            spikes = torch.maximum(spikes, torch.ceil(lowest * time - 1e-3) - total)
        if highest is not None:
            spikes = torch.minimum(spikes, torch.floor(highest * time + 1e-3) - total)
        total = total + spikes
    out = spikes * threshold
    v = torch.where(spikes != 0, torch.zeros_like(v), v) if spec.hard_reset else v - out
    return out, State(v, total, time)
