"""Spikes as a function of the potential: a staircase, with a bump for the derivative of a step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeport.convert import ConversionError, Neuron
from spikeport.convert.neurons import MultiThreshold, NeuronModel
from spikeport.convert.neurons.multi_threshold import power_towards_zero
from spikeport.finetune.neuron.surrogates import Surrogate


@dataclass(frozen=True)
class Staircase:
    """The potentials at which the number of spikes of one timestep changes.

    Attributes:
        model: the kind of neuron.
        steps: for each step its place u = v/θ, and the spikes below and above it.
    """

    model: Neuron | MultiThreshold
    steps: tuple[tuple[float, int, int], ...]

    @staticmethod
    def of(spec: NeuronModel) -> "Staircase":
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
            up = [(float(n), n - 1, n) for n in range(1, spec.max_up + 1)]
            moved = int(spec.hard_reset)  # by which the steps downwards are further away
            down = [(float(-n - moved), -n - 1, -n) for n in range(spec.max_down)]
            return Staircase(spec, tuple(sorted(up + down)))
        raise ConversionError(
            f"{type(spec).__name__} neurons cannot be fine-tuned: their spikes depend on more than "
            'the potential. Convert with neuron="if", "burst", "signed", "multi-level" or '
            '"multi-threshold".'
        )

    def count(self, u: Tensor) -> Tensor:
        """Spikes without bounds at a potential u, in thresholds; see ``NeuronModel.step``."""
        if isinstance(self.model, Neuron):
            return self.model.count(u)
        spikes = self.model.nearest_power(u)
        return spikes if self.model.signed else spikes.clamp_min(0)

    def bounded(self, u: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
        """Spikes that the neuron's memory allows.

        Args:
            u: potential before firing, in thresholds, [B, ...].
            low: least number of spikes, like u; None where any is.
            high: the largest.
        """
        free = self.count(u)
        kept = free if low is None else torch.maximum(free, low)
        kept = kept if high is None else torch.minimum(kept, high)
        if isinstance(self.model, MultiThreshold) and kept is not free:
            return torch.where(kept == free, free, power_towards_zero(kept))
        return kept

    def slope(
        self,
        u: Tensor,
        surrogate: Surrogate,
        width: float,
        low: Tensor | None,
        high: Tensor | None,
    ) -> Tensor:
        """The surrogate derivative of the spikes by u: the bumps that the bounds leave.

        Args:
            u: as for ``bounded``, and so are low and high.
            surrogate: shape of the bumps.
            width: of the bumps, in thresholds for a step by one spike; steps by h spikes have h
                times the width and the area h.
        """
        whole = all(place == above for place, _, above in self.steps)  # and each by one spike
        if len(self.steps) > 2 and whole and surrogate.reach(width) <= 1:
            return self._slope_beside(u, surrogate, width, low, high)
        total: Tensor | None = None
        for place, below, above in self.steps:
            height = above - below
            bump = surrogate.bump(u - place, height * width)
            if height != 1:
                bump.mul_(height)
            if low is not None:
                bump.mul_(low <= below)
            if high is not None:
                bump.mul_(high >= above)
            total = bump if total is None else total.add_(bump)
        assert total is not None  # every neuron has a step
        return total

    def _slope_beside(
        self,
        u: Tensor,
        surrogate: Surrogate,
        width: float,
        low: Tensor | None,
        high: Tensor | None,
    ) -> Tensor:
        """``slope`` from the whole numbers beside u, where no other step's bump reaches u."""
        (first, _, _), *_, (last, _, _) = self.steps
        below = u.floor()
        bumps = []
        for place in (below, below + 1):
            there = (place >= first) & (place <= last)
            if low is not None:
                there &= low <= place - 1
            if high is not None:
                there &= high >= place
            bumps.append(surrogate.bump(u - place, width).mul_(there))
        return bumps[0].add_(bumps[1])
