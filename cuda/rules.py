"""Rules of firing, as the kernels are told them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor

PLAIN, SIGNED, GENERAL = range(3)  # as in neuron.cuh


@dataclass(frozen=True)
class Rules:
    """Rules that all neurons of a layer have in common.

    Attributes:
        max_up: most spikes in a timestep, >= 1.
        max_down: most negative spikes in a timestep, >= 0.
        leak: factor on the potential before each timestep.
        hard_reset: a neuron that fires loses all of its potential.
        nonnegative: the running total may not fall below 0.
        bits: width of a potential that is a whole number, 16, 24 or 32; 0 for a float.
    """

    max_up: int
    max_down: int = 0
    leak: float = 1.0
    hard_reset: bool = False
    nonnegative: bool = False
    bits: int = 0

    @classmethod
    def of(cls, listed: Sequence[float]) -> "Rules":
        """The inverse of ``listed``."""
        up, down, leak, hard_reset, nonnegative, bits = listed
        flags = bool(hard_reset), bool(nonnegative)
        return cls(int(up), int(down), leak, *flags, int(bits))

    @property
    def listed(self) -> list[float]:
        """The rules as an argument of an operation of torch."""
        return [float(value) for value in astuple(self)]

    @property
    def state_type(self) -> torch.dtype:
        """The dtype of potentials and bounds: float32 holds whole numbers of 24 bits."""
        return torch.float64 if self.bits > 24 else torch.float32

    @property
    def planes(self) -> int:
        """Bit planes that hold the counts; two's complement if one may be below 0."""
        if self.max_down == 0:
            return self.max_up.bit_length()
        return 1 + max(self.max_up.bit_length(), (self.max_down - 1).bit_length())

    def form(self, bounded: bool) -> dict[str, int | str]:
        """The macros of the neuron update; ``bounded``: there are bounds for each channel."""
        bounds = 2 if bounded else int(self.nonnegative)
        once = self.leak == 1 and not self.hard_reset and self.max_up == 1
        if once and self.max_down == 1:
            neuron = SIGNED
        else:
            neuron = PLAIN if once and self.max_down == 0 and not bounds else GENERAL
        state = "double" if self.state_type == torch.float64 else "float"
        return {"SP_NEURON": neuron, "SP_BOUNDS": bounds, "SP_BITS": self.bits, "SP_STATE": state}

    def arguments(self) -> dict[str, Any]:
        """The scalar arguments of a kernel."""
        names = {"up": self.max_up, "down": self.max_down, "leak": self.leak}
        return {**names, "hard_reset": self.hard_reset}

    def bounds(self, lowest: Tensor | None, highest: Tensor | None) -> dict[str, Tensor | None]:
        """Both bounds where there is one; the one that does not bind is infinite."""
        if highest is not None and lowest is None:
            lowest = torch.full_like(highest, 0.0 if self.nonnegative else -torch.inf)
        if lowest is not None and highest is None:
            highest = torch.full_like(lowest, torch.inf)
        return {"lowest": lowest, "highest": highest}
