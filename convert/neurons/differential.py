"""Differential coding: spikes correct the receiver's running mean instead of making it up."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.integrate_and_fire import Neuron
from spikeport.convert.neurons.model import NeuronModel, State
from spikeport.convert.neurons.multi_threshold import MultiThreshold, power_towards_zero


@dataclass(frozen=True)
class Differential(NeuronModel):
    """Sends corrections s of its mean output m; sender and receiver keep m, ``m += s·θ/t``.

    Huang et al. 2025, "Differential Coding for Training-Free ANN-to-SNN Conversion". In terms of
    values the neuron emits ``m + s·θ`` at every timestep, of which only s travels: for a constant
    input the spikes die out. Both ends pay a multiply-add for m at every timestep, and the event
    counts of a report do not contain it.

    Attributes:
        coder: turns a potential into spikes: ``Neuron`` (without leak or hard reset) or
            ``MultiThreshold``. Corrections of a mean have both signs, so it has to fire both. The
            last spike of either fires at three quarters of the threshold.
    """

    coder: Neuron | MultiThreshold = field(default_factory=lambda: MultiThreshold(4))
    keeps_total = True

    def __post_init__(self) -> None:
        plain = isinstance(self.coder, MultiThreshold) or (
            isinstance(self.coder, Neuron) and self.coder.leak == 1 and not self.coder.hard_reset
        )
        if not plain or self.coder.max_down < 1:
            raise ConversionError(
                f"Differential.coder is {self.coder!r}; expected a Neuron or MultiThreshold that "
                "fires both signs, without leak or hard reset, such as Neuron(4, 4)"
            )

    @property
    def max_up(self) -> int:  # type: ignore[override]
        """The largest correction, in thresholds."""
        return self.coder.max_up

    @property
    def max_down(self) -> int:  # type: ignore[override]
        """The largest negative correction, in thresholds."""
        return self.coder.max_down

    @property
    def levels(self) -> int:
        """Values that one timestep's correction can take, 0 included."""
        return self.coder.levels

    def both_signs(self) -> "Differential":
        """The neuron for a quantity that is not a ReLU's."""
        return replace(self, coder=self.coder.both_signs())

    def step(
        self,
        current: Tensor,
        state: State,
        threshold: Tensor,
        lowest: Tensor | None = None,
        highest: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Integrate what the mean does not explain, fire a correction; see ``NeuronModel.step``."""
        assert state.total is not None
        mean = _mean(state)
        v = state.v + (current - mean * threshold)
        spikes = self._spikes(v, threshold)
        time, carried = state.time + 1, state.total + mean
        spikes = self._bound(spikes, carried, time, lowest, highest)
        value = spikes * threshold
        return mean * threshold + value, State(v - value, carried + spikes, time)

    def _spikes(self, v: Tensor, threshold: Tensor) -> Tensor:
        count = v / threshold
        if isinstance(self.coder, MultiThreshold):
            return self.coder.nearest_power(count)
        # three quarters of a spike here too: after a negative one, the family's floor leaves the
        # potential where the next positive one fires, and the two alternate for ever
        size = (count.abs() + 0.25).floor_()
        return torch.copysign(size, count).clamp_(-self.max_down, self.max_up)

    def _bound(
        self,
        spikes: Tensor,
        carried: Tensor,
        time: int,
        lowest: Tensor | None,
        highest: Tensor | None,
    ) -> Tensor:
        """The corrections that keep the mean in its range: whole ones, though the mean is not.

        None at all always does: it leaves the mean where it is.
        """
        kept = spikes
        if lowest is not None:
            kept = torch.maximum(kept, lowest * time - carried - 1e-3)
        if highest is not None:
            kept = torch.minimum(kept, highest * time - carried + 1e-3)
        alone = isinstance(self.coder, MultiThreshold)
        smaller = power_towards_zero(kept) if alone else kept.trunc()
        return torch.where(kept == spikes, spikes, smaller)

    def events(self, emitted: Tensor, before: State, threshold: Tensor) -> Tensor:
        """The corrections: what was emitted less the mean before it."""
        assert before.total is not None
        sums = (before.total * threshold + emitted.cumsum(0)) - emitted
        times = torch.arange(before.time, before.time + len(emitted), device=emitted.device)
        times = times.clamp_min(1).to(emitted.dtype).view([-1] + [1] * (emitted.ndim - 1))
        spikes = ((emitted - sums / times) / threshold).round()
        return spikes * threshold


def _mean(state: State) -> Tensor:
    assert state.total is not None
    return state.total / max(state.time, 1)
