"""Spikes as a function of the potential: a staircase, with a bump for the derivative of a step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeport.convert import ConversionError
from spikeport.convert.neurons import KINDS, NeuronModel, Step
from spikeport.finetune.neuron.surrogates import Surrogate


@dataclass(frozen=True)
class Staircase:
    """A neuron model's spikes over its potential, with a derivative.

    Attributes:
        model: the neuron model.
        steps: where its number of spikes changes.
        even: the steps are by one spike each and stand at whole numbers of thresholds, so that
            every whole number of spikes between the bounds can be fired.
    """

    model: NeuronModel
    steps: tuple[Step, ...]
    even: bool

    @staticmethod
    def of(model: NeuronModel) -> "Staircase":
        """The staircase of a neuron model.

        Raises:
            ConversionError: a model whose spikes are no function of its potential alone.
        """
        found = model.staircase()
        if found is None:
            fitting = [name for name, kind in KINDS.items() if kind.staircase() is not None]
            raise ConversionError(
                f"{model.label} neurons cannot be fine-tuned: their class declares no staircase, "
                "spikes that depend on the potential alone. Convert with neuron="
                f"{' or '.join(map(repr, fitting))}."
            )
        even = all(place == above == below + 1 for place, below, above in found.steps)
        return Staircase(model, found.steps, even)

    def count(self, u: Tensor) -> Tensor:
        """Spikes without bounds at a potential of u thresholds; see ``NeuronModel.count``."""
        return self.model.count(u)

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
        if self.even or kept is free:
            return kept
        return torch.where(kept == free, free, self.model.toward_zero(kept))

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
        if len(self.steps) > 2 and self.even and surrogate.reach(width) <= 1:
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
