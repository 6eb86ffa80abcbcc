"""The derivative of ``firing.fire``, written out.

Autograd's graph of single operations goes through memory four times as often.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from spikeport.finetune.neuron.scan_step import ChunkStart, FiringRule, Scanned


class Gradients(NamedTuple):
    """Gradients by the current (and so by the correction), and by what a chunk begins with."""

    current: Tensor
    threshold: Tensor
    leak: Tensor | None
    v: Tensor
    total: Tensor | None


def backward(
    rule: FiringRule, start: ChunkStart, saved: Scanned, grads: Scanned, time: int
) -> Gradients:
    """Go back through a chunk.

    Args:
        rule: how the layer fires.
        start: the state before the chunk.
        saved: what it gave.
        grads: by what it gave.
        time: timesteps before.
    """
    back = _BackwardPass(rule, start, grads)
    by_current, by_leak = [], None if start.leak is None else torch.zeros_like(start.leak)
    pairs = list(zip(saved.potentials.unbind(), saved.emitted.unbind(), strict=True))
    total = saved.total
    for t, (u, out) in reversed(list(enumerate(pairs))):
        n = (out / start.threshold).round()
        total = None if total is None else total - n
        back.step_back(t, u, n, start.bounds(total, time + t + 1))
        by_current.append(back.by_v.to(out.dtype))
        if by_leak is not None:
            by_leak = by_leak + back.step_back_leak(pairs[t - 1] if t else None)
    by_threshold = back.by_threshold.sum_to_size(start.threshold.shape)
    by_total = None if total is None else back.by_total
    return Gradients(torch.stack(by_current[::-1]), by_threshold, by_leak, back.by_v, by_total)


class _BackwardPass:
    """Gradients on their way back through the timesteps of some images.

    Args:
        rule: how the layer fires.
        start: the state before the chunk.
        grads: by what it gave.

    Attributes:
        by_v: by the potential, of what was gone through.
        by_total: by the number of spikes.
        by_threshold: by θ, for each image, so far.
    """

    def __init__(self, rule: FiringRule, start: ChunkStart, grads: Scanned) -> None:
        self.rule, self.threshold, self.leak, self.v = rule, start.threshold, start.leak, start.v
        self.by_emitted, self.by_u, by_spikes, by_v, by_total = grads
        self.by_spikes = None
        if by_spikes is not None:
            self.by_spikes = by_spikes.view([-1] + [1] * (self.v.ndim - 1))
        zero = torch.zeros_like(self.v)
        self.by_v = zero if by_v is None else by_v
        self.by_total = zero if by_total is None else by_total
        self.by_threshold = torch.zeros_like(self.v)

    def step_back(
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

    def step_back_leak(self, before: tuple[Tensor, Tensor] | None) -> Tensor:
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
