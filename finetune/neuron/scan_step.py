"""A layer of neurons over the timesteps of a chunk: what comes in, what comes out."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from spikeport.finetune.neuron.staircase import Staircase
from spikeport.finetune.neuron.surrogates import Surrogate


class FiringRule(NamedTuple):
    """The firing of a layer and its derivative.

    Attributes:
        staircase: spikes over the potential.
        surrogate: shape of a step's derivative, and whether the reset passes it on.
        width: of the bumps at present.
        hard: a neuron that fires loses all of its potential; it passes no gradient of the spike on.
    """

    staircase: Staircase
    surrogate: Surrogate
    width: float
    hard: bool


class ChunkStart(NamedTuple):
    """Inputs of a chunk of timesteps beside its current.

    Attributes:
        correction: added to the current, broadcastable to [t, B, ...]; None for 0.
        threshold: θ, broadcastable to [B, ...].
        leak: factor on the potential, a scalar; None for 1.
        v: potential, [B, ...], activation units.
        total: spikes so far, [B, ...]; None where no bound needs them.
        low: least mean of the spikes per timestep that the memory allows, like the threshold; None
            where any is.
        high: the largest.
    """

    correction: Tensor | None
    threshold: Tensor
    leak: Tensor | None
    v: Tensor
    total: Tensor | None
    low: Tensor | None
    high: Tensor | None

    def of(self, part: slice) -> "ChunkStart":
        """The part of some images, without a copy."""
        total = None if self.total is None else self.total[part]
        return self._replace(v=self.v[part], total=total)

    def detached(self) -> "ChunkStart":
        """The same numbers, which nothing differentiates."""
        return ChunkStart(*(None if value is None else value.detach() for value in self))  # type: ignore[arg-type]

    def bounds(self, total: Tensor | None, time: int) -> tuple[Tensor | None, Tensor | None]:
        """Least and most spikes of the timestep ``time``, from 1, after ``total`` spikes."""
        if total is None:
            return None, None
        # the margins are those of ``convert.neurons.bounds.bound``
        low = None if self.low is None else torch.ceil(self.low * time - 1e-3) - total
        high = None if self.high is None else torch.floor(self.high * time + 1e-3) - total
        return low, high


class Scanned(NamedTuple):
    """Results of a chunk of timesteps; or the gradients by them, None for 0.

    Attributes:
        emitted: activation units, [t, B, ...], in the current's type.
        potentials: before firing, in thresholds, [t, B, ...].
        spikes: of either sign, of all neurons and timesteps together, [B].
        v: potential after, [B, ...], activation units.
        total: spikes up to now, [B, ...]; None where no bound needs them.
    """

    emitted: Tensor
    potentials: Tensor
    spikes: Tensor
    v: Tensor
    total: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Scanned":
        """Another one, with every tensor changed."""
        changed = (None if value is None else change(value) for value in self)
        return Scanned(*changed)  # type: ignore[arg-type]

    def of(self, part: slice) -> "Scanned":
        """The part of some images, without a copy."""
        over_time = (None if value is None else value[:, part] for value in self[:2])
        others = (None if value is None else value[part] for value in self[2:])
        return Scanned(*over_time, *others)


def fire(rule: FiringRule, current: Tensor, start: ChunkStart, time: int) -> Scanned:
    """Integrate, fire, reset, timestep by timestep, line for line as ``Neuron.step``.

    Args:
        rule: how.
        current: [t, B, ...], activation units.
        start: the state before.
        time: timesteps before.
    """
    threshold, leak, v, total = start.threshold, start.leak, start.v, start.total
    emitted, potentials, spikes = [], [], v.new_zeros(len(v))
    kind = current.dtype
    current = current if start.correction is None else current + start.correction
    for t, arriving in enumerate(current.unbind()):
        v = (v if leak is None else v * leak) + arriving
        u = v / threshold
        n = rule.staircase.bounded(u, *start.bounds(total, time + t + 1))
        total = None if total is None else total + n
        out = n * threshold
        v = torch.where(n != 0, torch.zeros_like(v), v) if rule.hard else v - out
        spikes = spikes + n.abs().sum(tuple(range(1, n.ndim)))
        emitted.append(out.to(kind))
        potentials.append(u)
    return Scanned(torch.stack(emitted), torch.stack(potentials), spikes, v, total)
