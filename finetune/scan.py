"""A layer of neurons over the timesteps of a chunk as one differentiable operation.

Its derivative is written out: autograd's graph of single operations goes through memory four times
as often.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeport.finetune.staircase import Staircase
from spikeport.finetune.surrogates import Surrogate

PART_BYTES = 2**18  # of one tensor of the images that go through time together on a CPU


class Rule(NamedTuple):
    """How the layer fires and what its derivative is.

    Attributes:
        staircase: spikes over the potential.
        surrogate: shape of a step's derivative, and whether the reset passes it on.
        width: of the bumps at present.
        hard: a neuron that fires loses all of its potential; it passes no gradient of the spike on.
        low: least mean of the spikes per timestep that the memory allows, like the threshold; None
            where any is.
        high: the largest.
    """

    staircase: Staircase
    surrogate: Surrogate
    width: float
    hard: bool
    low: Tensor | None
    high: Tensor | None

    def bounds(self, total: Tensor | None, time: int) -> tuple[Tensor | None, Tensor | None]:
        """Least and most spikes of the timestep ``time``, from 1, after ``total`` spikes."""
        if total is None:
            return None, None
        # the margins are those of ``convert.neurons.family.bound``
        low = None if self.low is None else torch.ceil(self.low * time - 1e-3) - total
        high = None if self.high is None else torch.floor(self.high * time + 1e-3) - total
        return low, high


class Scanned(NamedTuple):
    """What a chunk of timesteps gave.

    Attributes:
        emitted: activation units, [t, B, ...].
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


def scan(
    current: Tensor,
    threshold: Tensor,
    leak: Tensor | None,
    v: Tensor,
    total: Tensor | None,
    time: int,
    rule: Rule,
) -> Scanned:
    """Integrate, fire, reset, timestep by timestep, line for line as ``Neuron.step``.

    Args:
        current: [t, B, ...], activation units.
        threshold: θ, broadcastable to [B, ...].
        leak: factor on the potential, a scalar; None for 1.
        v: potential before, [B, ...], activation units.
        total: spikes before, [B, ...]; None where no bound needs them.
        time: timesteps before.
        rule: how.
    """
    return Scanned(*_Scan.apply(current, threshold, leak, v, total, time, rule))


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        threshold: Tensor,
        leak: Tensor | None,
        v: Tensor,
        total: Tensor | None,
        time: int,
        rule: Rule,
    ) -> tuple[Tensor | None, ...]:
        emitted = torch.empty_like(current, memory_format=torch.contiguous_format)
        potentials, after = torch.empty_like(emitted), torch.empty_like(emitted[0])
        spikes = after.new_zeros(len(after))
        totals = None if total is None else torch.empty_like(after)
        for part in _parts(after):
            now, seen = v[part], None if total is None else total[part]
            for t, arriving in enumerate(current[:, part]):
                now = (now if leak is None else now * leak) + arriving
                potentials[t, part] = u = now / threshold
                n = rule.staircase.bounded(u, *rule.bounds(seen, time + t + 1))
                seen = None if seen is None else seen + n
                emitted[t, part] = out = n * threshold
                now = torch.where(n != 0, torch.zeros_like(now), now) if rule.hard else now - out
                spikes[part] += n.abs().reshape(len(n), -1).sum(1)
            after[part] = now
            if totals is not None and seen is not None:
                totals[part] = seen
        ctx.save_for_backward(threshold, leak, v, totals, potentials, emitted)
        ctx.time, ctx.rule = time, rule
        ctx.set_materialize_grads(False)
        return emitted, potentials, spikes, after, totals

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        threshold, leak, v, totals, potentials, emitted = ctx.saved_tensors
        by_current, by_v = torch.empty_like(emitted), torch.empty_like(v)
        by_total = None if totals is None else torch.empty_like(v)
        by_threshold = torch.zeros_like(threshold)
        by_leak = None if leak is None else torch.zeros_like(leak)
        for part in _parts(v):
            back = _Back(ctx.rule, threshold, leak, v[part], grads, part)
            seen = None if totals is None else totals[part]
            for t in reversed(range(len(emitted))):
                u, n = potentials[t, part], (emitted[t, part] / threshold).round_()
                seen = None if seen is None else seen - n
                back.through(t, u, n, ctx.rule.bounds(seen, ctx.time + t + 1))
                by_current[t, part] = back.by_v
                if by_leak is not None:
                    before = (potentials[t - 1, part], emitted[t - 1, part]) if t else None
                    by_leak += back.through_leak(before)
            by_threshold += back.by_threshold.sum_to_size(threshold.shape)
            by_v[part] = back.by_v
            if by_total is not None:
                by_total[part] = back.by_total
        return by_current, by_threshold, by_leak, by_v, by_total, None, None


class _Back:
    """Gradients on their way back through the timesteps of some images.

    Args:
        rule: how the layer fires.
        threshold: θ.
        leak: the factor, or None.
        v: potential before the chunk.
        grads: by the fields of ``Scanned``.
        part: the images.

    Attributes:
        by_v: by the potential, of what was gone through.
        by_total: by the number of spikes.
        by_threshold: by θ, for each image, so far.
    """

    def __init__(
        self,
        rule: Rule,
        threshold: Tensor,
        leak: Tensor | None,
        v: Tensor,
        grads: tuple[Tensor | None, ...],
        part: slice,
    ) -> None:
        self.rule, self.threshold, self.leak, self.v = rule, threshold, leak, v
        self.by_emitted, self.by_u = (None if g is None else g[:, part] for g in grads[:2])
        by_spikes, by_v, by_total = (None if g is None else g[part] for g in grads[2:])
        self.by_spikes = None
        if by_spikes is not None:
            self.by_spikes = by_spikes.view([-1] + [1] * (v.ndim - 1))
        zero = torch.zeros_like(v)
        self.by_v = zero if by_v is None else by_v
        self.by_total = zero if by_total is None else by_total
        self.by_threshold = torch.zeros_like(v)

    def through(
        self, t: int, u: Tensor, n: Tensor, bounds: tuple[Tensor | None, Tensor | None]
    ) -> None:
        """Go through the reset and the spikes of a timestep.

        Args:
            t: the timestep of the chunk, from 0.
            u: potential before firing, in thresholds.
            n: spikes.
            bounds: of the spikes.
        """
        rule = self.rule
        by_out = torch.zeros_like(u) if self.by_emitted is None else self.by_emitted[t]
        moved = by_out if rule.hard else by_out - self.by_v
        by_n = (by_out if rule.surrogate.detach_reset else moved) * self.threshold
        if self.by_spikes is not None:
            by_n += self.by_spikes * n.sign()
        bounded = bounds != (None, None)
        if bounded:
            by_n += self.by_total
        by_u = by_n * rule.staircase.slope(u, rule.surrogate, rule.width, *bounds)
        if bounded:  # a bound that holds spikes back moves against the total
            self.by_total = self.by_total - by_n * (rule.staircase.count(u) != n)
        if self.by_u is not None:
            by_u += self.by_u[t]
        by_u /= self.threshold
        self.by_threshold.addcmul_(moved, n).addcmul_(by_u, u, value=-1)
        self.by_v = by_u + (self.by_v * (n == 0) if rule.hard else self.by_v)

    def through_leak(self, before: tuple[Tensor, Tensor] | None) -> Tensor:
        """Go through the leak of a timestep; the gradient by it.

        Args:
            before: potential before firing, in thresholds, and what was emitted, of the timestep
                before; None in the first.
        """
        assert self.leak is not None
        left = self.v
        if before is not None:
            u, out = before
            left = u * self.threshold
            left = left * (out == 0) if self.rule.hard else left - out
        by_leak = (self.by_v * left).sum()
        self.by_v = self.by_v * self.leak
        return by_leak


def _parts(like: Tensor) -> list[slice]:
    """Images, [B, ...], in groups whose numbers stay in a processor's cache."""
    size = max(1, len(like))
    if like.device.type == "cpu" and like.numel():
        size = max(1, PART_BYTES * size // (like.numel() * like.element_size()))
    return [slice(begin, begin + size) for begin in range(0, len(like), size)]
