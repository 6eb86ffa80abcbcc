"""One spike per timestep at one of several thresholds that are powers of two apart."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.bounds import bound
from spikeport.convert.neurons.fields import require_flag, require_integer
from spikeport.convert.neurons.model import NeuronModel, State
from spikeport.convert.neurons.packing import EVENTS
from spikeport.convert.neurons.rules import Staircase, Step

MOST_EXPONENTS = 24  # the largest event is then 2^23 thresholds; float32 holds 2^24 whole ones


@dataclass(frozen=True)
class MultiThreshold(NeuronModel):
    """Fires the largest of ±θ, ±2θ, …, ±2^(n-1)·θ whose three quarters the potential reaches.

    Huang et al. 2024, "Towards High-performance Spiking Transformers from ANN to SNN Conversion",
    and Huang et al. 2025, "Differential Coding for Training-Free ANN-to-SNN Conversion": their
    thresholds are θ/2^k, so that their θ is the largest; ours is the smallest, the value of one
    spike. An event carries its sign and its exponent.

    Attributes:
        exponents: number n of positive thresholds, from 1 to 24.
        signed: negative events too; a ReLU's running total still never falls below 0.
    """

    exponents: int = 4
    signed: bool = True

    lossless = True
    packings = tuple(EVENTS)
    syntax = "mt:N, N thresholds that are powers of two apart"

    def __post_init__(self) -> None:
        owner = type(self).__name__
        require_integer(owner, "exponents", self.exponents, 1, MOST_EXPONENTS)
        require_flag(owner, "signed", self.signed)

    @property
    def max_up(self) -> int:  # type: ignore[override]
        """The largest event, in thresholds."""
        return int(2 ** (self.exponents - 1))

    @property
    def max_down(self) -> int:  # type: ignore[override]
        """The largest negative event, in thresholds."""
        return self.max_up if self.signed else 0

    def both_signs(self) -> "MultiThreshold":
        """The neuron for a quantity that is not a ReLU's."""
        return replace(self, signed=True)

    def step(
        self,
        current: Tensor,
        state: State,
        threshold: Tensor,
        lowest: Tensor | None = None,
        highest: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Integrate, fire one spike, subtract it; see ``NeuronModel.step``."""
        v = state.v + current
        spikes = self.count(v / threshold)
        time, total = state.time + 1, state.total
        if total is not None:
            kept = bound(spikes, total, time, lowest, highest)
            # what the bound leaves over need not be a power of two: fire the next smaller one
            spikes = torch.where(kept == spikes, spikes, self.toward_zero(kept))
            total = total + spikes
        out = spikes * threshold
        return out, State(v - out, total, time)

    def count(self, u: Tensor) -> Tensor:
        """±2^k for the largest k < n with |u| >= 0.75·2^k, 0 if there is none."""
        spikes = power_toward_zero((u / 0.75).clamp(-self.max_up, self.max_up))
        return spikes if self.signed else spikes.clamp_min(0)

    def toward_zero(self, spikes: Tensor) -> Tensor:
        """The next smaller power of two; see ``NeuronModel.toward_zero``."""
        return power_toward_zero(spikes)

    # -- capabilities

    @property
    def levels(self) -> int:
        """Values that one timestep can take, 0 included."""
        return self.exponents * (2 if self.signed else 1) + 1

    @property
    def takes_back(self) -> bool:  # type: ignore[override]
        """Whether there are negative thresholds."""
        return self.signed

    @property
    def ternary(self) -> bool:  # type: ignore[override]
        """Whether there is one threshold of either sign."""
        return self.exponents == 1

    @property
    def time_to_first_spike(self) -> bool:  # type: ignore[override]
        """Whether there are negative thresholds."""
        return self.signed

    def reach(self, timesteps: int) -> tuple[float, float]:
        """See ``Capabilities.reach``."""
        return -float(self.max_down), float(self.max_up)

    def staircase(self) -> Staircase:
        """Steps at three quarters of each power."""
        up = [Step(0.75 * 2**k, 2**k // 2, 2**k) for k in range(self.exponents)]
        down = [Step(-place, -above, -below) for place, below, above in up if self.signed]
        return Staircase(tuple(sorted(up + down)))

    def correction(self, u: Tensor) -> Tensor | None:
        """The nearest power; see ``Capabilities.correction``."""
        return self.count(u) if self.signed else None

    def with_levels(self, levels: int) -> "MultiThreshold":
        """Powers of two only; see ``Capabilities.with_levels``."""
        found = replace(self, exponents=levels.bit_length())
        if found.max_up != levels:
            raise ConversionError(
                f"a {type(self).__name__} with powers of two, and not with {levels} levels; choose "
                "from 1, 2, 4, 8, …"
            )
        return found

    # -- names

    @classmethod
    def kinds(cls) -> dict[str, NeuronModel]:
        """One kind."""
        return {"multi-threshold": cls(exponents=4)}

    @classmethod
    def parse(cls, text: str) -> "MultiThreshold | None":
        """mt:N."""
        kind, _, exponents = text.partition(":")
        return cls(int(exponents)) if kind == "mt" and exponents.isdecimal() else None

    @property
    def text(self) -> str:
        """mt:N."""
        return f"mt:{self.exponents}" if self.signed else ""

    @property
    def label(self) -> str:
        """ "multi-threshold (±1…±8)"."""
        sign = "±" if self.signed else ""
        last = f"…{sign}{self.max_up}" if self.exponents > 1 else ""
        return f"multi-threshold ({sign}1{last})"


def power_toward_zero(value: Tensor) -> Tensor:
    """±2^k for the largest k >= 0 with 2^k <= |value|, or 0."""
    size = value.abs()
    exponent = torch.frexp(size).exponent - 1
    power = torch.ldexp(torch.ones_like(size), exponent)
    return torch.where(size >= 1, torch.copysign(power, value), torch.zeros_like(size))
