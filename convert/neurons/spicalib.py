"""Burst neurons that take spikes back once they have been silent for too long."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeport.convert.neurons.bounds import bound
from spikeport.convert.neurons.fields import MOST_SPIKES, require_integer
from spikeport.convert.neurons.integrate_and_fire import Neuron
from spikeport.convert.neurons.model import NeuronModel, State
from spikeport.convert.neurons.packing import EVENTS


@dataclass(frozen=True)
class SpiCalib(NeuronModel):
    """Fires -1 when it has been silent for longer than its mean inter-spike interval + allowance.

    Li et al. 2022, "Spike Calibration: Fast and Accurate Conversion of Spiking Neural Network for
    Object Detection and Segmentation": a neuron whose activation is 0 fires at first, while its
    input still settles, and then falls silent; the negative spikes cancel what it sent. They stop
    when nothing is left of it (the running total never falls below 0), and each starts the clock
    again. The mean interval is that from one firing timestep to the next, the first counted from
    the start. A negative spike gives its threshold back to the potential, so that the decode
    identity holds. What is not a ReLU's gets the signed ``Neuron`` with as many spikes.

    Attributes:
        max_up: most spikes in one timestep, >= 1 (burst).
        allowance: timesteps of silence beyond the mean interval, >= 0.
    """

    max_up: int = 5
    allowance: int = 3
    max_down = 1
    keeps_total = True

    lossless = takes_back = True
    packings = tuple(EVENTS)

    def __post_init__(self) -> None:
        owner = type(self).__name__
        require_integer(owner, "max_up", self.max_up, 1, MOST_SPIKES)
        require_integer(owner, "allowance", self.allowance, 0, MOST_SPIKES)

    def both_signs(self) -> Neuron:
        """A signed neuron: negative spikes carry values there."""
        return Neuron(self.max_up, self.max_up)

    def step(
        self,
        current: Tensor,
        state: State,
        threshold: Tensor,
        lowest: Tensor | None = None,
        highest: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Integrate, fire upwards or take a spike back, subtract it; see ``NeuronModel.step``.

        ``State.memory`` holds the timesteps since the last event, the sum of the intervals between
        firing timesteps, and their number.
        """
        assert state.total is not None
        silent, intervals, firings = state.memory or (torch.zeros_like(state.v),) * 3
        v, time = state.v + current, state.time + 1
        spikes = (v / threshold).floor_().clamp_(0, self.max_up)
        spikes = bound(spikes, state.total, time, None, highest)
        silent = silent + 1
        overdue = (silent - self.allowance) * firings > intervals
        cancels = (spikes == 0) & overdue & (state.total >= 1)
        spikes = spikes - cancels.to(spikes.dtype)
        fires = spikes > 0
        # the interval ends at the last firing, however many spikes were taken back since
        intervals = torch.where(fires, torch.full_like(v, time), intervals)
        silent = torch.where(spikes != 0, torch.zeros_like(v), silent)
        memory = (silent, intervals, firings + fires.to(v.dtype))
        out = spikes * threshold
        return out, State(v - out, state.total + spikes, time, memory)

    # -- capabilities

    @property
    def levels(self) -> int:
        """Values that one timestep can take, 0 included."""
        return self.max_up + 2

    @property
    def ternary(self) -> bool:  # type: ignore[override]
        """Whether a timestep has one spike at most, of either sign."""
        return self.max_up == 1

    def reach(self, timesteps: int) -> tuple[float, float]:
        """See ``Capabilities.reach``."""
        return -1.0, float(self.max_up)

    def with_levels(self, levels: int) -> "SpiCalib":
        """Any number of spikes up; see ``Capabilities.with_levels``."""
        return replace(self, max_up=levels)

    # -- names

    @classmethod
    def kinds(cls) -> dict[str, NeuronModel]:
        """One kind."""
        return {"spicalib": cls(max_up=5)}

    @property
    def label(self) -> str:
        """ "SpiCalib (−1…5)"."""
        allowance = f", allowance {self.allowance}" if self.allowance != 3 else ""
        return f"SpiCalib (−1…{self.max_up}){allowance}"
