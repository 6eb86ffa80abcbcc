"""Spikes as a function of the potential: a staircase, with a bump for the derivative of a step."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import ConversionError, Neuron
from spikeport.convert.neurons import MultiThreshold, Spec
from spikeport.convert.neurons.multi_threshold import power_towards_zero
from spikeport.finetune.surrogates import Surrogate


@dataclass(frozen=True)
class Staircase:
    """Where the number of spikes of one timestep changes.

    Attributes:
        spec: the kind of neuron.
        steps: for each step its place u = v/θ, and the spikes below and above it.
    """

    spec: Neuron | MultiThreshold
    steps: tuple[tuple[float, int, int], ...]

    @staticmethod
    def of(spec: Spec) -> "Staircase":
        """The staircase of a kind of neuron.

        Raises:
            ConversionError: a kind whose spikes are no function of its potential alone.
        """
        if isinstance(spec, MultiThreshold):
            powers = [2**k for k in range(spec.exponents)]
            up = [(0.75 * n, n // 2, n) for n in powers]
            down = [(-place, -above, -below) for place, below, above in up if spec.signed]
            return Staircase(spec, tuple(sorted(up + down)))
        if isinstance(spec, Neuron):
            counts = range(1 - spec.max_down, spec.max_up + 1)
            return Staircase(spec, tuple((float(n), n - 1, n) for n in counts))
        raise ConversionError(
            f"{type(spec).__name__} neurons cannot be fine-tuned: their spikes depend on more than "
            'the potential. Convert with neuron="if", "burst", "signed", "multi-level" or '
            '"multi-threshold".'
        )

    def count(self, u: Tensor) -> Tensor:
        """Spikes without bounds, in thresholds; see ``Spec.step``."""
        if isinstance(self.spec, Neuron):
            return u.floor().clamp_(-self.spec.max_down, self.spec.max_up)
        spikes = self.spec.nearest_power(u)
        return spikes if self.spec.signed else spikes.clamp_min(0)


def fire(
    staircase: Staircase,
    surrogate: Surrogate,
    width: float,
    u: Tensor,
    low: Tensor | None,
    high: Tensor | None,
) -> Tensor:
    """Spikes of one timestep, differentiable.

    The derivative by u is the sum of the bumps of all steps that the bounds leave; that by a bound
    is 1 where it holds the spikes back.

    Args:
        staircase: of the neuron.
        surrogate: shape of the bumps.
        width: of the bumps, in thresholds for a step by one spike; steps by h spikes have h times
            the width and the area h.
        u: potential before firing, in thresholds, [B, ...].
        low: least number of spikes that the neuron's memory allows, like u; None where any is.
        high: the largest.
    """
    spikes: Tensor = _Fire.apply(u, low, high, staircase, surrogate, width)
    return spikes


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        low: Tensor | None,
        high: Tensor | None,
        staircase: Staircase,
        surrogate: Surrogate,
        width: float,
    ) -> Tensor:
        ctx.save_for_backward(u, low, high)
        ctx.staircase, ctx.surrogate, ctx.width = staircase, surrogate, width
        free = staircase.count(u)
        kept = _within(free, low, high)
        if isinstance(staircase.spec, MultiThreshold) and (low is not None or high is not None):
            return torch.where(kept == free, free, power_towards_zero(kept))
        return kept

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, low, high = ctx.saved_tensors
        [grad] = grads
        slope = torch.zeros_like(u)
        for place, below, above in ctx.staircase.steps:
            height = above - below
            bump = ctx.surrogate.bump(u - place, height * ctx.width) * height
            if low is not None:
                bump = bump * (low <= below)
            if high is not None:
                bump = bump * (high >= above)
            slope += bump
        free = ctx.staircase.count(u)
        grad_low = None if low is None else grad * (free < low)
        grad_high = None if high is None else grad * (free > high)
        return grad * slope, grad_low, grad_high, None, None, None


def _within(spikes: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    if low is not None:
        spikes = torch.maximum(spikes, low)
    if high is not None:
        spikes = torch.minimum(spikes, high)
    return spikes
