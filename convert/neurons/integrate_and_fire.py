"""The one neuron family: soft-reset integrate and fire with several spikes per step, both signs.

``IF`` (Rueckauer et al. 2017, "Conversion of Continuous-Valued Deep Networks to Efficient
Event-Driven Networks"), burst (Li & Zeng 2022, "Efficient and Accurate Conversion of Spiking
Neural Network with Burst Spikes"), signed with memory (Wang et al. 2022, "Signed Neuron with
Memory") and multi-level neurons are settings of its integers.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeport.convert.neurons.bounds import bound
from spikeport.convert.neurons.fields import (
    MOST_SPIKES,
    require_choice,
    require_factor,
    require_flag,
    require_integer,
)
from spikeport.convert.neurons.model import NeuronModel, State
from spikeport.convert.neurons.packing import EVENTS
from spikeport.convert.neurons.rules import NativeRule, Staircase, Step

POTENTIAL_BITS = (16, 24, 32)


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
        potential_bits: width of the membrane potential, 16, 24 or 32, where it is a whole number
            (``sp.quantize``): it saturates, and a leak rounds it. None: a float.
    """

    max_up: int = 1
    max_down: int = 0
    leak: float = 1.0
    hard_reset: bool = False
    potential_bits: int | None = None

    packings = tuple(EVENTS)
    syntax = "UP:DOWN, most spikes per timestep of either sign, for example 4:4"

    def __post_init__(self) -> None:
        owner = type(self).__name__
        require_integer(owner, "max_up", self.max_up, 1, MOST_SPIKES)
        require_integer(owner, "max_down", self.max_down, 0, MOST_SPIKES)
        require_factor(owner, "leak", self.leak)
        require_flag(owner, "hard_reset", self.hard_reset)
        require_choice(owner, "potential_bits", self.potential_bits, (None, *POTENTIAL_BITS))

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
        v = self.charge(state.v, current)
        spikes = self.count(v / threshold)
        time, total = state.time + 1, state.total
        if total is not None:
            spikes = bound(spikes, total, time, lowest, highest)
            total = total + spikes
        out = spikes * threshold
        v = torch.where(spikes != 0, torch.zeros_like(v), v) if self.hard_reset else v - out
        return out, State(v, total, time)

    def charge(self, v: Tensor, current: Tensor) -> Tensor:
        """The potential before it fires, activation units or those of an integer network.

        Args:
            v: potential after the last timestep, [B, ...].
            current: of this one, likewise.
        """
        leaked = v if self.leak == 1 else v * self.leak
        if self.potential_bits is None:
            return leaked + current
        most = 2.0 ** (self.potential_bits - 1)
        # a GPU's convolution of whole numbers may go through fractions and miss by a little
        return (leaked.round() + current.round()).clamp_(-most, most - 1)

    def count(self, u: Tensor) -> Tensor:
        """The whole thresholds in u, within the neuron's limits; see ``NeuronModel.count``."""
        whole = u.trunc() if self.hard_reset else u.floor()
        return whole.clamp_(-self.max_down, self.max_up)

    # -- capabilities

    @property
    def levels(self) -> int:
        """Values that one timestep can take, 0 included."""
        return self.max_up + self.max_down + 1

    @property
    def lossless(self) -> bool:  # type: ignore[override]
        """Whether there is neither leak nor hard reset."""
        return self.leak == 1 and not self.hard_reset

    @property
    def takes_back(self) -> bool:  # type: ignore[override]
        """Whether there are negative spikes."""
        return self.max_down > 0

    @property
    def ternary(self) -> bool:  # type: ignore[override]
        """Whether a timestep has one spike at most, of either sign."""
        return self.max_up == 1 and self.max_down <= 1

    @property
    def time_to_first_spike(self) -> bool:  # type: ignore[override]
        """Whether nothing is lost, and what was sent too early is taken back."""
        return self.lossless and self.takes_back

    @property
    def native_rule(self) -> NativeRule:
        """The fields."""
        return NativeRule(
            self.max_up, self.max_down, self.leak, self.hard_reset, self.potential_bits
        )

    def reach(self, timesteps: int) -> tuple[float, float]:
        """See ``Capabilities.reach``."""
        return -float(self.max_down), float(self.max_up)

    def staircase(self) -> Staircase:
        """A step at each whole number of thresholds; see ``hard_reset`` for that at 0."""
        up = [Step(float(n), n - 1, n) for n in range(1, self.max_up + 1)]
        moved = int(self.hard_reset)  # by which the steps downwards are further away
        down = [Step(float(-n - moved), -n - 1, -n) for n in range(self.max_down)]
        return Staircase(tuple(sorted(up + down)), self.leak, self.hard_reset)

    def summed(self, timesteps: int) -> "Neuron | None":
        """T times the spikes, where nothing is lost in between."""
        if not self.lossless:
            return None
        return replace(self, max_up=timesteps * self.max_up, max_down=timesteps * self.max_down)

    def correction(self, u: Tensor) -> Tensor | None:
        """The last spike fires at three quarters of the threshold; see ``Capabilities``."""
        if not self.time_to_first_spike:
            return None
        size = (u.abs() + 0.25).floor_()
        return torch.copysign(size, u).clamp(-self.max_down, self.max_up)

    def with_levels(self, levels: int) -> "Neuron":
        """Levels up, and as many down if there are any; see ``Capabilities.with_levels``."""
        return replace(self, max_up=levels, max_down=levels if self.max_down else 0)

    # -- names

    @classmethod
    def kinds(cls) -> dict[str, NeuronModel]:
        """Members of the family that have names."""
        return {
            "if": cls(max_up=1, max_down=0),
            "burst": cls(max_up=5, max_down=0),
            "signed": cls(max_up=1, max_down=1),
            "multi-level": cls(max_up=4, max_down=4),
        }

    @classmethod
    def parse(cls, text: str) -> "Neuron | None":
        """UP:DOWN."""
        up, _, down = text.partition(":")
        return cls(int(up), int(down)) if up.isdecimal() and down.isdecimal() else None

    @property
    def text(self) -> str:
        """UP:DOWN."""
        plain = self.lossless and self.potential_bits is None
        return f"{self.max_up}:{self.max_down}" if plain else ""

    @property
    def label(self) -> str:
        """ "IF", "burst (0…5)", "signed (−1…1)" or "multi-level (−4…4)"."""
        if self.max_down:
            name = "signed" if self.ternary else "multi-level"
            name += f" (−{self.max_down}…{self.max_up})"
        else:
            name = "IF" if self.max_up == 1 else f"burst (0…{self.max_up})"
        leak = f", leak {self.leak:g}" if self.leak != 1 else ""
        bits = f", {self.potential_bits}-bit potential" if self.potential_bits else ""
        return name + leak + (", hard reset" if self.hard_reset else "") + bits
