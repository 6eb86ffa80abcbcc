"""Differential coding: spikes correct the receiver's running mean instead of making it up."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.kinds import neuron_model
from spikeport.convert.neurons.model import NeuronModel, State
from spikeport.convert.neurons.multi_threshold import MultiThreshold
from spikeport.convert.neurons.packing import EVENTS


@dataclass(frozen=True)
class Differential(NeuronModel):
    """Sends corrections s of its mean output m; sender and receiver keep m, ``m += s·θ/t``.

    Huang et al. 2025, "Differential Coding for Training-Free ANN-to-SNN Conversion". In terms of
    values the neuron emits ``m + s·θ`` at every timestep, of which only s travels: for a constant
    input the spikes die out. Both ends pay a multiply-add for m at every timestep, and the event
    counts of a report do not contain it.

    Attributes:
        coder: turns a potential into spikes: a model with a ``correction``, such as ``Neuron``
            (without leak or hard reset) or ``MultiThreshold``. Corrections of a mean have both
            signs, so it has to fire both. The last spike fires at three quarters of the threshold.
    """

    coder: NeuronModel = field(default_factory=lambda: MultiThreshold(4))
    keeps_total = True

    lossless = takes_back = sends_corrections = True
    packings = tuple(EVENTS)
    syntax = "diff:CODER, differential coding by one of the others, such as diff:mt:4 or diff:8:8"

    def __post_init__(self) -> None:
        fits = (
            isinstance(self.coder, NeuronModel)
            and self.coder.correction(torch.zeros(1)) is not None
        )
        if not fits:
            raise ConversionError(
                f"Differential.coder is {self.coder!r}; expected a neuron model that fires both "
                "signs, without leak or hard reset, such as Neuron(4, 4) or MultiThreshold(4)"
            )

    @property
    def max_up(self) -> int:  # type: ignore[override]
        """The largest correction, in thresholds."""
        return self.coder.max_up

    @property
    def max_down(self) -> int:  # type: ignore[override]
        """The largest negative correction, in thresholds."""
        return self.coder.max_down

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
        spikes = self.coder.correction(v / threshold)
        assert spikes is not None
        time, carried = state.time + 1, state.total + mean
        spikes = self._bound(spikes, carried, time, lowest, highest)
        value = spikes * threshold
        return mean * threshold + value, State(v - value, carried + spikes, time)

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
        return torch.where(kept == spikes, spikes, self.coder.toward_zero(kept))

    def events(self, emitted: Tensor, before: State, threshold: Tensor) -> Tensor:
        """The corrections: what was emitted less the mean before it."""
        assert before.total is not None
        sums = (before.total * threshold + emitted.cumsum(0)) - emitted
        times = torch.arange(before.time, before.time + len(emitted), device=emitted.device)
        times = times.clamp_min(1).to(emitted.dtype).view([-1] + [1] * (emitted.ndim - 1))
        spikes = ((emitted - sums / times) / threshold).round()
        return spikes * threshold

    # -- capabilities

    @property
    def levels(self) -> int | None:
        """Values that one timestep's correction can take, 0 included."""
        return self.coder.levels

    def reach(self, timesteps: int) -> tuple[float, float]:
        """A correction at timestep t moves the mean by a t-th of it."""
        total = sum(1 / time for time in range(1, timesteps + 1))
        return -self.max_down * total, self.max_up * total

    def with_levels(self, levels: int) -> "Differential":
        """The coder's; see ``Capabilities.with_levels``."""
        return replace(self, coder=self.coder.with_levels(levels))

    # -- names

    @classmethod
    def kinds(cls) -> dict[str, NeuronModel]:
        """One kind."""
        return {"differential": cls()}

    @classmethod
    def parse(cls, text: str) -> "Differential | None":
        """diff:CODER."""
        kind, _, coder = text.partition(":")
        return cls(neuron_model(coder)) if kind == "diff" else None

    @property
    def text(self) -> str:
        """diff:CODER."""
        return self.coder.text and f"diff:{self.coder.text}"

    @property
    def label(self) -> str:
        """ "differential multi-threshold (±1…±8)"."""
        return f"differential {self.coder.label}"


def _mean(state: State) -> Tensor:
    assert state.total is not None
    return state.total / max(state.time, 1)
