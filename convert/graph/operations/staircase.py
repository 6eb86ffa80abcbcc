"""Quantised activations: chains of operations that are a staircase of their input.

``clamp(floor(x · L / θ + 1/2), 0, L) · θ / L`` (QCFS: Bu et al. 2022, "Optimal ANN-SNN Conversion
for High-accuracy and Ultra-low-latency Spiking Neural Networks"), LSQ, PACT and fake quantisation
are such chains, in whatever order their parts are written. What one operation makes of a staircase
stands in its row.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from spikeport.convert.graph.operations.call import Call

NEARLY = 1e-4  # of a level: constants are rounded to float32
JUST = 1e-5  # of a level: as good as nothing
STEEP = 16.0  # levels per unit, for a comparison


@dataclass(frozen=True)
class Staircase:
    """``scale · clamp(floor(gain · x + shift), lowest, highest) + offset``, elementwise.

    Before the values are rounded it is ``clamp(gain · x + shift, lowest, highest)``. All are
    tensors that broadcast against x.

    Attributes:
        gain, shift: of x, in levels; the gain is above 0.
        lowest, highest: levels.
        rounded: whether the floor has been taken.
        scale, offset: value of a level, and of level 0.
    """

    gain: Tensor
    shift: Tensor
    lowest: Tensor
    highest: Tensor
    rounded: bool = False
    scale: Tensor | None = None
    offset: Tensor | None = None

    @classmethod
    def start(cls, dtype: torch.dtype) -> "Staircase":
        """x itself."""
        one, infinity = torch.ones((), dtype=dtype), torch.full((), torch.inf, dtype=dtype)
        return cls(one, 0 * one, -infinity, infinity, False, one, 0 * one)

    def scaled(self, factor: Any) -> "Staircase | None":
        """Multiplied by a positive constant."""
        factor = torch.as_tensor(factor, dtype=self.gain.dtype)
        if not bool((factor > 0).all()):
            return None
        if self.rounded:
            return replace(self, scale=self.scale * factor, offset=self.offset * factor)
        gain, shift = self.gain * factor, self.shift * factor
        return replace(
            self, gain=gain, shift=shift, lowest=self.lowest * factor, highest=self.highest * factor
        )

    def moved(self, distance: Any) -> "Staircase":
        """The staircase with a constant added."""
        distance = torch.as_tensor(distance, dtype=self.gain.dtype)
        if self.rounded:
            return replace(self, offset=self.offset + distance)
        lowest, highest = self.lowest + distance, self.highest + distance
        return replace(self, shift=self.shift + distance, lowest=lowest, highest=highest)

    def clamped(self, low: Any, high: Any) -> "Staircase | None":
        """Within two constants; None where one of them cuts a step in two."""
        ends = []
        for end, infinite in ((low, -torch.inf), (high, torch.inf)):
            value = torch.as_tensor(infinite if end is None else end, dtype=self.gain.dtype)
            if self.rounded:
                value = (value - self.offset) / self.scale  # type: ignore[operator]
                inside = (value > self.lowest) & (value < self.highest)
                if bool((inside & ((value - value.round()).abs() > NEARLY)).any()):
                    return None
                value = torch.where(value.isfinite(), value.round(), value)
            ends.append(value)
        lowest, highest = self.lowest.maximum(ends[0]), self.highest.minimum(ends[1])
        return replace(self, lowest=lowest, highest=highest)

    def floored(self, shift: float = 0.0) -> "Staircase | None":
        """Rounded down, once ``shift`` has been added."""
        if self.rounded:
            return self if bool((self.scale == 1).all()) else None  # type: ignore[union-attr]
        moved = self.moved(shift)
        ends = {"lowest": moved.lowest.floor(), "highest": moved.highest.floor()}
        return replace(moved, rounded=True, **ends)

    @property
    def is_whole(self) -> bool:
        """Whether it is a neuron's activation and a constant: it has levels, the same for all."""
        ends = torch.stack([self.lowest.min(), self.lowest.max(), self.highest.min()])
        same = bool(ends[0] == ends[1]) and bool(ends[2] == self.highest.max())
        return self.rounded and same and bool(ends.isfinite().all()) and bool(ends[2] > ends[0])

    def centred(self) -> "Staircase":
        """A whole one with level 0 among its levels, and with value 0 there where it can be."""
        assert self.scale is not None
        assert self.offset is not None
        low, high = float(self.lowest.min()), float(self.highest.min())
        by = (self.offset / self.scale).round()
        levels = float(by.min()) if bool(by.min() == by.max()) else 0.0
        levels = min(max(levels, -high), -low)
        offset = self.offset - levels * self.scale
        return replace(
            self,
            shift=self.shift + levels,
            lowest=self.lowest + levels,
            highest=self.highest + levels,
            offset=torch.where(offset.abs() <= NEARLY * self.scale, 0 * offset, offset),
        )


Climb = Callable[[Call, Staircase], Staircase | None]


def is_constant(value: Any) -> bool:
    """Whether an argument is a number or a tensor that is known."""
    return isinstance(value, (int, float, Tensor)) and not isinstance(value, fx.Node)


def _other(call: Call) -> tuple[Any, bool]:
    """The constant beside the staircase, and whether the staircase comes first."""
    first, second = call.argument("input"), call.argument("other")
    return (second, True) if isinstance(first, fx.Node) else (first, False)


def added(call: Call, x: Staircase) -> Staircase | None:
    """``x + constant``."""
    value, _ = _other(call)
    return x.moved(value) if is_constant(value) and call.given("alpha", 1) == 1 else None


def subtracted(call: Call, x: Staircase) -> Staircase | None:
    """``x - constant``."""
    value, first = _other(call)
    return x.moved(-value) if is_constant(value) and first else None


def multiplied(call: Call, x: Staircase) -> Staircase | None:
    """``x * constant``."""
    value, _ = _other(call)
    return x.scaled(value) if is_constant(value) else None


def divided(call: Call, x: Staircase) -> Staircase | None:
    """``x / constant``."""
    value, first = _other(call)
    mode = call.given("rounding_mode")
    if not is_constant(value) or not first or bool((torch.as_tensor(value) == 0).any()):
        return None
    found = x.scaled(1 / torch.as_tensor(value, dtype=x.gain.dtype))
    return found.floored() if found is not None and mode == "floor" else None if mode else found


def clamped(low: Any, high: Any) -> Climb:
    """A clamp whose ends are the arguments of these names, or numbers."""

    def climb(call: Call, x: Staircase) -> Staircase | None:
        ends = [call.argument(end) if isinstance(end, str) else end for end in (low, high)]
        known = all(end is None or is_constant(end) for end in ends)
        return x.clamped(*ends) if known else None

    return climb


def limited(above: bool) -> Climb:
    """``minimum(x, constant)`` (above) or ``maximum(x, constant)``."""

    def climb(call: Call, x: Staircase) -> Staircase | None:
        value, _ = _other(call)
        if not is_constant(value):
            return None
        return x.clamped(None, value) if above else x.clamped(value, None)

    return climb


def floored(call: Call, x: Staircase) -> Staircase | None:
    """``floor(x)``."""
    return x.floored()


def raised(call: Call, x: Staircase) -> Staircase | None:
    """``ceil(x)``."""
    return x.floored(1 - JUST)


def rounded(call: Call, x: Staircase) -> Staircase | None:
    """``round(x)``; halves go up here, and to even numbers in torch."""
    factor = 10.0 ** call.given("decimals", 0)
    scaled = x.scaled(factor)
    found = scaled.floored(0.5) if scaled is not None else None
    return found.scaled(1 / factor) if found is not None else None


def truncated(call: Call, x: Staircase) -> Staircase | None:
    """``trunc(x)`` of values that are not negative."""
    return x.floored() if bool((x.lowest >= 0).all()) else None


def floor_divided(call: Call, x: Staircase) -> Staircase | None:
    """``x // constant``."""
    found = divided(call, x)
    return found.floored() if found is not None else None


def compared(at_equality: float) -> Climb:
    """``x > constant`` (at_equality 0), or ``x >= constant`` (1): one level.

    The neuron takes as much current for it as makes it fire at every timestep, or never, for
    nearly all values.
    """

    def climb(call: Call, x: Staircase) -> Staircase | None:
        value = call.argument("other", 0.0)
        if x.rounded or not is_constant(value) or not isinstance(call.given("input"), fx.Node):
            return None
        found = x.moved(-torch.as_tensor(value, dtype=x.gain.dtype)).scaled(STEEP)
        return found.clamped(-1, 1).floored(at_equality or 1 - JUST).clamped(0, 1)  # type: ignore

    return climb


def quantized(call: Call, x: Staircase) -> Staircase | None:
    """``torch.fake_quantize_per_tensor_affine`` and all of its forms."""
    scale, zero = call.argument("scale"), call.argument("zero_point")
    low, high = call.argument("quant_min"), call.argument("quant_max")
    if call.given("dtype") is not None:
        kind = torch.iinfo(call.given("dtype"))
        low, high = kind.min, kind.max
    if not all(map(is_constant, (scale, zero, low, high))):
        return None
    zero = torch.as_tensor(zero, dtype=x.gain.dtype).round().clamp(low, high)  # it may be learned
    axis = call.argument("axis")
    if axis is not None and isinstance(scale, Tensor) and scale.numel() > 1:
        sides = [1] * call.source.meta["value"].ndim
        sides[axis] = -1
        scale, zero = scale.view(sides), zero.view(sides)
    found = x.scaled(1 / torch.as_tensor(scale, dtype=x.gain.dtype))
    found = found.floored(0.5) if found is not None else None
    found = found.moved(zero).clamped(low, high) if found is not None else None
    return found.moved(-zero).scaled(scale) if found is not None else None


def fused_quantized(call: Call, x: Staircase) -> Staircase | None:
    """``torch.fused_moving_avg_obs_fake_quant`` that no longer observes."""
    observes, quantizes = call.argument("observer_on"), call.argument("fake_quant_on")
    if not is_constant(observes) or not is_constant(quantizes) or bool(observes):
        return None
    return quantized(call, x) if bool(quantizes) else x


def unchanged(call: Call, x: Staircase) -> Staircase | None:
    """A change of type, or an identity."""
    return x
