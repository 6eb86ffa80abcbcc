"""One spike per timestep at one of several thresholds that are powers of two apart."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeport.convert.neurons.integrate_and_fire import bound, require_integer
from spikeport.convert.neurons.model import NeuronModel, State


@dataclass(frozen=True)
class MultiThreshold(NeuronModel):
    """Fires the largest of ±θ, ±2θ, …, ±2^(n-1)·θ whose three quarters the potential reaches.

    Huang et al. 2024, "Towards High-performance Spiking Transformers from ANN to SNN Conversion",
    and Huang et al. 2025, "Differential Coding for Training-Free ANN-to-SNN Conversion": their
    thresholds are θ/2^k, so that their θ is the largest; ours is the smallest, the value of one
    spike. An event carries its sign and its exponent.

    Attributes:
        exponents: number n of positive thresholds, >= 1.
        signed: negative events too; a ReLU's running total still never falls below 0.
    """

    exponents: int = 4
    signed: bool = True

    def __post_init__(self) -> None:
        require_integer("MultiThreshold", "exponents", self.exponents, 1)

    @property
    def max_up(self) -> int:  # type: ignore[override]
        """The largest event, in thresholds."""
        return int(2 ** (self.exponents - 1))

    @property
    def max_down(self) -> int:  # type: ignore[override]
        """The largest negative event, in thresholds."""
        return self.max_up if self.signed else 0

    @property
    def levels(self) -> int:
        """Values that one timestep can take, 0 included."""
        return self.exponents * (2 if self.signed else 1) + 1

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
        spikes = self.nearest_power(v / threshold)
        if not self.signed:
            spikes = spikes.clamp_min(0)
        time, total = state.time + 1, state.total
        if total is not None:
            kept = bound(spikes, total, time, lowest, highest)
            # what the bound leaves over need not be a power of two: fire the next smaller one
            spikes = torch.where(kept == spikes, spikes, power_towards_zero(kept))
            total = total + spikes
        out = spikes * threshold
        return out, State(v - out, total, time)

    def nearest_power(self, v: Tensor) -> Tensor:
        """±2^k for the largest k < n with |v| >= 0.75·2^k, 0 if there is none."""
        return power_towards_zero((v / 0.75).clamp(-self.max_up, self.max_up))


def power_towards_zero(value: Tensor) -> Tensor:
    """±2^k for the largest k >= 0 with 2^k <= |value|, or 0."""
    size = value.abs()
    exponent = torch.frexp(size).exponent - 1
    power = torch.ldexp(torch.ones_like(size), exponent)
    return torch.where(size >= 1, torch.copysign(power, value), torch.zeros_like(size))
