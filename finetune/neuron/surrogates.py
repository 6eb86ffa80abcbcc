"""Surrogates of a spike's derivative: bumps around the potential at which a neuron fires."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spikeport.convert import ConversionError


class Shape(NamedTuple):
    """A bump of unit area and unit height at 0.

    Attributes:
        height: of the bump at some distances from its middle, elementwise.
        reach: distance at which it ends.
    """

    height: Callable[[Tensor], Tensor]
    reach: float = math.inf


SHAPES = {
    "triangle": Shape(lambda x: (1 - x.abs()).clamp_min_(0), 1.0),
    "rectangle": Shape(lambda x: (x.abs() < 0.5).to(x.dtype), 0.5),
    "arctan": Shape(lambda x: 1 / (1 + (math.pi * x).square())),
    "sigmoid": Shape(lambda x: 4 * torch.sigmoid(4 * x) * torch.sigmoid(-4 * x)),
}


@dataclass(frozen=True)
class Surrogate:
    """The derivative that training takes for a step from one number of spikes to the next.

    A bump ``shape((u − p)/width)/width`` around the place p of the step, u = v/θ; its area is the
    step's height 1, so that a staircase of them has the right mean slope. Triangle: Bellec et al.
    2018, "Long short-term memory and learning-to-learn in networks of spiking neurons", and Deng
    et al. 2022, "Temporal Efficient Training" (eq. 14, γ = width). Rectangle: Wu et al. 2018,
    "Spatio-Temporal Backpropagation". Arctan: Fang et al. 2021, "Incorporating Learnable Membrane
    Time Constant". Sigmoid: Zenke & Ganguli 2018, "SuperSpike", as in common libraries.

    Attributes:
        shape: a name in ``SHAPES``: "triangle", "rectangle", "arctan" or "sigmoid".
        width: of the bump, in thresholds, > 0: half the base of the triangle, the base of the
            rectangle; the height at its middle is 1/width for all of them.
        final_width: the width at the end of the training; it changes geometrically from ``width``
            to it (an evolving surrogate). None: it stays.
        detach_reset: the reset does not pass the spike's gradient on to later timesteps.
    """

    shape: str = "triangle"
    width: float = 1.0
    final_width: float | None = None
    detach_reset: bool = True

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConversionError(
                f"Surrogate.shape is {self.shape!r}; expected one of {sorted(SHAPES)}"
            )
        for name in ("width", "final_width"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConversionError(f"Surrogate.{name} is {value!r}; expected a number > 0")

    def width_at(self, progress: float) -> float:
        """The width when a share ``progress`` in [0, 1] of the training is over."""
        last = self.width if self.final_width is None else self.final_width
        return self.width * (last / self.width) ** progress

    def reach(self, width: float) -> float:
        """Distance from which on the bump is 0, in thresholds."""
        return SHAPES[self.shape].reach * width

    def bump(self, distance: Tensor, width: float) -> Tensor:
        """The derivative at some distances from the step, in thresholds."""
        return SHAPES[self.shape].height(distance / width).div_(width)
