"""One neuron over time in plain Python, with the derivative of every number beside it.

Independent of the package: numbers, lists and the formulas of the papers.
"""

import math
from fractions import Fraction


def bump(shape: str, x: float, width: float) -> float:
    if shape == "triangle":
        return max(0.0, width - abs(x)) / width**2
    if shape == "rectangle":
        return 1 / width if 2 * abs(x) < width else 0.0
    if shape == "arctan":
        alpha = 2 / width
        return alpha / 2 / (1 + (math.pi / 2 * alpha * x) ** 2)
    s = 1 / (1 + math.exp(-4 * x / width))
    return 4 / width * s * (1 - s)


def ladder(up: int, down: int, hard: bool) -> list[tuple[float, int, int]]:
    """Steps of floor, or with a hard reset trunc, and clip: place, spikes below, spikes above."""
    upward = [(float(k), k - 1, k) for k in range(1, up + 1)]
    return [(float(-k if hard else 1 - k), -k, 1 - k) for k in range(1, down + 1)] + upward


def powers(exponents: int, signed: bool) -> list[tuple[float, int, int]]:
    """Steps of the multi-threshold neuron."""
    values = [0, *(2**k for k in range(exponents))]
    upward = [
        (float(Fraction(3, 4) * high), low, high)
        for low, high in zip(values[:-1], values[1:], strict=True)
    ]
    return ([(-p, -high, -low) for p, low, high in upward] if signed else []) + upward


class Slow:
    """Forward mode: a value and its derivatives by (log θ, v0/θ, leak, I_1 … I_T)."""

    def __init__(self, value: float, slope: list[float]) -> None:
        self.value, self.slope = value, slope

    def __add__(self, other: "Slow") -> "Slow":
        slopes = zip(self.slope, other.slope, strict=True)
        return Slow(self.value + other.value, [a + b for a, b in slopes])

    def __mul__(self, other: "Slow") -> "Slow":
        slopes = zip(self.slope, other.slope, strict=True)
        return Slow(self.value * other.value, [a * other.value + b * self.value for a, b in slopes])

    def scaled(self, factor: float) -> "Slow":
        return Slow(self.value * factor, [factor * a for a in self.slope])

    def inverse(self) -> "Slow":
        return Slow(1 / self.value, [-a / self.value**2 for a in self.slope])


def run(
    steps: list[tuple[float, int, int]],
    shape: str,
    width: float,
    currents: list[float],
    theta: float,
    share: float,
    leak: float,
    lowest: float | None,
    highest: float | None,
    detach: bool,
    hard: bool,
) -> list[Slow]:
    """What the neuron emits at each timestep; bounds are of the mean emission, activation units."""
    size = 3 + len(currents)

    def unit(place: int, value: float, slope: float = 1.0) -> Slow:
        return Slow(value, [slope if i == place else 0.0 for i in range(size)])

    threshold, factor = unit(0, theta, theta), unit(2, leak)
    v = threshold * unit(1, share)
    total, emitted = unit(-1, 0.0, 0.0), []
    for time, current in enumerate(currents, 1):
        v = v * factor + unit(2 + time, current)
        u = v * threshold.inverse()
        low, high = -math.inf, math.inf
        if lowest is not None:
            low = math.ceil(lowest / theta * time - 1e-3) - total.value
        if highest is not None:
            high = math.floor(highest / theta * time + 1e-3) - total.value
        free = max([above for p, _, above in steps if u.value >= p and above > 0], default=0)
        if free == 0:
            free = min([below for p, below, _ in steps if u.value < p and below < 0], default=0)
        kept = toward_zero(min(max(free, low), high), steps)
        slope = sum(
            (b - a) * bump(shape, u.value - p, width * (b - a))
            for p, a, b in steps
            if low <= a and b <= high
        )
        n = u.scaled(slope)
        if free < low or free > high:  # the bound moves against the total
            n = n + total.scaled(-1.0)
        n = Slow(kept, n.slope)
        total = total + n
        emitted.append(n * threshold)
        taken = Slow(n.value, [0.0] * size) if detach or hard else n
        if hard:
            v = v if n.value == 0 else unit(-1, 0.0, 0.0)
        else:
            v = v + (taken * threshold).scaled(-1.0)
    return emitted


def toward_zero(count: float, steps: list[tuple[float, int, int]]) -> float:
    """The nearest number of spikes that the neuron can fire, not beyond ``count``."""
    levels = {level for _, below, above in steps for level in (below, above)}
    return max((n for n in levels if n * count >= 0 and abs(n) <= abs(count)), key=abs)
