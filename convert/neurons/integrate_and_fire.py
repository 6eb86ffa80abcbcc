"""The one neuron family: soft-reset integrate and fire with several spikes per step, both signs.

``IF`` (Rueckauer et al. 2017, "Conversion of Continuous-Valued Deep Networks to Efficient
Event-Driven Networks"), burst (Li & Zeng 2022, "Efficient and Accurate Conversion of Spiking
Neural Network with Burst Spikes"), signed with memory (Wang et al. 2022, "Signed Neuron with
Memory") and multi-level neurons are settings of its integers.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.model import NeuronModel, State


@dataclass(frozen=True)
class Neuron(NeuronModel):
    """The integrate-and-fire neuron; one for a whole network.

    Attributes:
        max_up: most spikes in one timestep, >= 1. More than one is a graded (multi-level) event.
        max_down: most negative spikes in one timestep, >= 0. They take back what was emitted too
            early: the running total of the spikes stays in the range of the activation.
        leak: factor on the membrane potential before each timestep, in (0, 1]; 1 is IF, the only
            value for which the output converges to the source network's.
        hard_reset: a neuron that fires loses all of its potential, not just what it emitted. It
            fires -1 at -θ, not below 0: its potential is exactly 0 after every spike, and there
            the sign of a rounding error would decide.
    """

    max_up: int = 1
    max_down: int = 0
    leak: float = 1.0
    hard_reset: bool = False
    native = True

    def __post_init__(self) -> None:
        for name, least in (("max_up", 1), ("max_down", 0)):
            require_integer(type(self).__name__, name, getattr(self, name), least)
        if isinstance(self.leak, (bool, str)) or not 0 < self.leak <= 1:
            raise ConversionError(f"Neuron.leak is {self.leak!r}; expected 0 < leak <= 1")

    @property
    def levels(self) -> int:
        """Values that one timestep can take, 0 included."""
        return self.max_up + self.max_down + 1

    def both_signs(self) -> "Neuron":
        """The neuron for a quantity that is not a ReLU's: as many spikes down as up."""
        return replace(self, max_down=max(self.max_up, self.max_down))

    def step(
        self,
        current: Tensor,
        state: State,
        threshold: Tensor,
        lowest: Tensor | None = None,
        highest: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Integrate, fire n spikes, subtract n·θ; see ``NeuronModel.step``."""
        v = (state.v if self.leak == 1 else state.v * self.leak) + current
        spikes = self.count(v / threshold)
        time, total = state.time + 1, state.total
        if total is not None:
            spikes = bound(spikes, total, time, lowest, highest)
            total = total + spikes
        out = spikes * threshold
        v = torch.where(spikes != 0, torch.zeros_like(v), v) if self.hard_reset else v - out
        return out, State(v, total, time)

    def count(self, u: Tensor) -> Tensor:
        """The whole thresholds in a potential of u thresholds, within the neuron's limits."""
        whole = u.trunc() if self.hard_reset else u.floor()
        return whole.clamp_(-self.max_down, self.max_up)


def bound(
    spikes: Tensor, total: Tensor, time: int, lowest: Tensor | None, highest: Tensor | None
) -> Tensor:
    """The spikes that keep the running total within its bounds after ``time`` timesteps."""
    # the margin keeps t·6/θ = 12 from being floored to 11 by rounding
    if lowest is not None:
        spikes = torch.maximum(spikes, torch.ceil(lowest * time - 1e-3) - total)
    if highest is not None:
        spikes = torch.minimum(spikes, torch.floor(highest * time + 1e-3) - total)
    return spikes


def require_integer(owner: str, name: str, value: object, least: int) -> None:
    """Raise ConversionError unless a field holds an int that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConversionError(f"{owner}.{name} is {value!r}; expected an int >= {least}")
