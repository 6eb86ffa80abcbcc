"""Initial membrane potential as a fraction of the threshold."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from spikeport.convert import ConversionError, SpikingNetwork


@dataclass(frozen=True)
class InitialPotential:
    """v0 = fraction · θ; half a threshold turns the neuron's floor into rounding to nearest.

    Bu et al. 2022, "Optimized Potential Initialization for Low-latency Spiking Neural Networks":
    with a uniformly distributed residue, the expected error is zero at θ/2. Reads no data.

    Attributes:
        fraction: in [0, 1).
    """

    fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ConversionError(
                f"InitialPotential.fraction is {self.fraction!r}; expected 0 <= fraction < 1"
            )

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set every neuron's v0; a threshold pass has to come first."""
        for name, neuron in network.neurons.items():
            if bool(torch.isnan(neuron.threshold).any()):
                raise ConversionError(
                    f"layer '{name}' has no threshold yet; put a threshold pass before "
                    "InitialPotential in the recipe"
                )
            neuron.v0.data = neuron.threshold.detach() * self.fraction
