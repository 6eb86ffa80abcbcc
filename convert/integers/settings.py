"""Settings of ``quantize``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import fx

from spikeport.convert.integers.weights import LARGEST
from spikeport.convert.neurons.fields import require_choice
from spikeport.convert.neurons.integrate_and_fire import POTENTIAL_BITS

BITS = tuple(range(2, LARGEST + 1))
Rounding = Literal["nearest", "calibrated"]
ROUNDINGS = ("nearest", "calibrated")


@dataclass(frozen=True)
class Quantization:
    """Settings of ``quantize``.

    Attributes:
        weight_bits: of a weight, 2 to 8.
        potential_bits: of a membrane potential, 16, 24 or 32.
        rounding: "nearest", or "calibrated", which makes up for the error of one weight in the
            others on calibration images.
        layer_bits: weight bits of single layers, by name.
        powers_of_two: thresholds of 1, 2, 4 … units.
    """

    weight_bits: int = 8
    potential_bits: int = 24
    rounding: Rounding = "nearest"
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    powers_of_two: bool = False

    def __post_init__(self) -> None:
        require_choice("quantize", "weight_bits", self.weight_bits, BITS)
        require_choice("quantize", "potential_bits", self.potential_bits, POTENTIAL_BITS)
        require_choice("quantize", "rounding", self.rounding, ROUNDINGS)
        for name, bits in self.layer_bits.items():
            require_choice("quantize", f"layer_bits[{name!r}]", bits, BITS)

    def bits(self, node: fx.Node) -> int:
        """Weight bits of a layer."""
        return self.layer_bits.get(str(node.target), self.weight_bits)
