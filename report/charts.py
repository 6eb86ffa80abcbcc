"""Where the parts of a chart stand: the page's SVG takes widths in per cent, heights in pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.ticker import LogLocator, MaxNLocator

HEIGHT = 220  # of the plot area, px
LABEL_GAP = 17  # between the labels of two lines, px
TICK_GAP = 9.0  # between the labels of two ticks, per cent of the width
TONES = 6  # colours and markers that the style sheet has


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: shown at its end.
        points: (x, y) in the units of the axes, from left to right.
        tone: which colour and marker, 0 to TONES - 1.
        dashed: drawn as the second measure of its tone.
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Rule:
    """A value of the source network, as a line across: level with ``y``, upright with ``x``."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass
class Axis:
    """Turns a value into a position from 0 to 1.

    Attributes:
        low: the value at 0.
        high: the value at 1.
        log: whether equal ratios are equal lengths; low > 0 then.
        ticks: values to mark.
    """

    low: float
    high: float
    log: bool
    ticks: list[float]

    def __call__(self, value: float) -> float:
        """The position of a value."""
        low, high, at = (
            (math.log(v) for v in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return (at - low) / (high - low)


@dataclass
class Label:
    """Text at the end of a line, at ``top`` px."""

    text: str
    top: float
    tone: int | None  # None: of a rule


@dataclass
class Chart:
    """A chart with all positions; x in per cent of the width, y in px from the top.

    Attributes:
        title: what is drawn, with the unit of y.
        x_title: the x axis, with its unit.
        description: the same for those who do not see it.
        lines: (tone, dashed, [(x, y)]).
        labels: at the right end, none over another.
        x_ticks: (x, text).
        y_ticks: (y, text).
        levels: y of level rules.
        uprights: (x, name) of upright rules.
    """

    title: str
    x_title: str
    description: str
    lines: list[tuple[int, bool, list[tuple[float, float]]]]
    labels: list[Label]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    levels: list[float] = field(default_factory=list)
    uprights: list[tuple[float, str]] = field(default_factory=list)
    height: int = HEIGHT


def shares_axis(values: Sequence[float]) -> Axis:
    """For shares of images: up to 1, down to the tick below the smallest."""
    ticks = MaxNLocator(5).tick_values(min(*values, 0.9), 1.0)
    ticks = [float(t) for t in ticks if -1e-9 <= t <= 1 + 1e-9]
    return Axis(ticks[0], 1.0, False, ticks)


def amounts_axis(values: Sequence[float]) -> Axis:
    """For amounts that are not negative, from 0."""
    ticks = [float(t) for t in MaxNLocator(5).tick_values(0.0, max(*values, 1e-9))]
    return Axis(0.0, ticks[-1], False, ticks)


def ratio_axis(values: Sequence[float], ticks: Sequence[float] | None = None) -> Axis:
    """A logarithmic axis around positive values."""
    low, high = min(values) / 1.1, max(values) * 1.1
    found = LogLocator(10, subs=(1, 2, 5)).tick_values(low, high) if ticks is None else ticks
    return Axis(low, high, True, [float(t) for t in found if low <= t <= high])


def chart(
    title: str,
    x_title: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    x_text: "Formatter",
    y_text: "Formatter",
    rules: Sequence[Rule] = (),
) -> Chart:
    """Place lines, ticks and labels; every value is inside the axes."""
    lines, labels = [], []
    for one in series:
        points = [(100 * x(a), HEIGHT * (1 - y(b))) for a, b in one.points]
        lines.append((one.tone, one.dashed, points))
        labels.append(Label(one.name, points[-1][1], one.tone))
    levels = [HEIGHT * (1 - y(rule.y)) for rule in rules if rule.y is not None]
    named = [rule.name for rule in rules if rule.y is not None]
    labels += [Label(name, top, None) for name, top in zip(named, levels, strict=True)]
    return Chart(
        title,
        x_title,
        f"{title} against {x_title}. " + " ".join(_told(s, x_text, y_text) for s in series),
        lines,
        _apart(labels),
        _thinned([(100 * x(t), x_text(t)) for t in x.ticks]),
        [(HEIGHT * (1 - y(t)), y_text(t)) for t in y.ticks],
        levels,
        [(100 * x(rule.x), rule.name) for rule in rules if rule.x is not None],
    )


class Formatter:
    """Writes a value of an axis."""

    def __init__(self, form: str, factor: float = 1.0) -> None:
        self.form, self.factor = form, factor

    def __call__(self, value: float) -> str:
        return self.form.format(value * self.factor)


def _told(series: Series, x_text: Formatter, y_text: Formatter) -> str:
    (x0, y0), (x1, y1) = series.points[0], series.points[-1]
    return f"{series.name}: {y_text(y0)} at {x_text(x0)}, {y_text(y1)} at {x_text(x1)}."


def _thinned(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without those whose text would touch the one before."""
    kept: list[tuple[float, str]] = []
    for at, text in ticks:
        if not kept or at - kept[-1][0] >= TICK_GAP:
            kept.append((at, text))
    return kept


def _apart(labels: list[Label]) -> list[Label]:
    """Moved down, and then up from the bottom, until none lies over another."""
    placed = sorted(labels, key=lambda label: label.top)
    for above, below in zip(placed, placed[1:], strict=False):
        below.top = max(below.top, above.top + LABEL_GAP)
    limit = HEIGHT
    for label in reversed(placed):
        label.top = min(label.top, limit)
        limit = label.top - LABEL_GAP
    return placed
