"""Axes of charts: range, ticks, and which ticks have room for their text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

from spikeport.report.drawing.style import text_width

Text = Callable[[float], str]

ROOM = 7.0  # between the texts of two ticks, points
SUBS = ((1, 2, 5), (1, 3), (1,))  # ticks within a decade


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Attributes:
        title: what it shows, with the unit.
        low: the value at its beginning.
        high: the value at its end.
        ticks: lists of values to mark; the first whose texts all have room is taken, otherwise as
            much of the last as has.
        text: writes a value.
        log: whether equal ratios are equal lengths; low > 0 then.
    """

    title: str
    low: float
    high: float
    ticks: Sequence[Sequence[float]]
    text: Text
    log: bool = False

    def place(self, value: float) -> float:
        """A value's place on the axis, from 0 to 1; 0 for what a logarithm has no place for."""
        if self.log and value <= 0:
            return 0.0
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        return (scale(value) - low) / (high - low)

    def fitting(self, length: float) -> list[float]:
        """The ticks whose texts have room side by side on so many points."""
        for ticks in self.ticks:
            found = self._apart(ticks, length)
            if len(found) == len(ticks) >= 2:
                break
        return found

    def _apart(self, ticks: Sequence[float], length: float) -> list[float]:
        kept: list[float] = []
        end = -ROOM / 2  # or the text would touch the other axis's
        for tick in ticks:
            at, half = length * self.place(tick), text_width(self.text(tick)) / 2
            if at - half >= end:
                kept.append(tick)
                end = at + half + ROOM
        return kept


def shares_axis(title: str, values: Sequence[float], text: Text) -> Axis:
    """Axis for shares of images: up to 1, down to the tick below the smallest."""
    ticks = [
        float(t)
        for t in MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)).tick_values(min(*values, 0.9), 1.0)
    ]
    ticks = [t for t in ticks if -1e-9 <= t <= 1 + 1e-9]
    return Axis(title, ticks[0], 1.0, [ticks], text)


def amounts_axis(title: str, values: Sequence[float], text: Text, steps: int = 5) -> Axis:
    """Axis for amounts, from 0 or below."""
    low, high = min(*values, 0.0), max(*values, 1e-9)
    ticks = [float(t) for t in MaxNLocator(steps).tick_values(low, high)]
    return Axis(title, ticks[0], ticks[-1], [ticks], text)


def ratio_axis(
    title: str, values: Sequence[float], text: Text, ticks: Sequence[float] | None = None
) -> Axis:
    """A logarithmic axis around the values above 0."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive) / 1.15, max(positive) * 1.15
    if ticks is not None:
        return Axis(title, low, high, [ticks], text, log=True)
    decades = [LogLocator(10, subs=subs).tick_values(low, high) for subs in SUBS]
    even = MaxNLocator(3).tick_values(low, high)  # for less than a decade
    inside = [[float(t) for t in found if low <= t <= high] for found in (*decades, even)]
    return Axis(title, low, high, inside, text, log=True)
