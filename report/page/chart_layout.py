"""Where the parts of a chart stand: the page's SVG takes widths in per cent, heights in pixels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

HEIGHT = 220  # of the plot area, px
LABEL_GAP = 17  # between the labels of two lines, px
CHARACTER = 3.6  # of a tick's text, per cent of the width on a narrow screen
TONES = 6  # colours and markers that the style sheet has

Text = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: shown at its end.
        points: (x, y) in the units of the axes, from left to right.
        tone: which colour and marker, 0 to TONES - 1.
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: int = 0


@dataclass(frozen=True)
class Rule:
    """A value to compare with, as a line across: level with ``y``, upright with ``x``."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class Axis:
    """Turns a value into a position from 0 to 1.

    Attributes:
        title: what it shows, with the unit.
        low: the value at 0.
        high: the value at 1.
        ticks: values to mark.
        text: writes a value.
        log: whether equal ratios are equal lengths; low > 0 then.
    """

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    text: Text
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value."""
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        return (scale(value) - low) / (high - low)


@dataclass
class Label:
    """Text at the right end, ``top`` px below the upper edge; ``tone`` None: of a rule."""

    text: str
    top: float
    tone: int | None


@dataclass(frozen=True)
class Chart:
    """A chart with all positions; x in per cent of the width, y in px from the top.

    Attributes:
        title: of the y axis.
        x_title: of the x axis.
        description: what is drawn, for those who do not see it.
        height: of the plot area, px.
        lines: (tone, [(x, y)]).
        labels: at the right end, none over another.
        x_ticks: (x, text).
        y_ticks: (y, text).
        levels: y of level rules.
        uprights: (x, name) of upright rules.
        marked: whether each point gets a mark.
    """

    title: str
    x_title: str
    description: str
    height: int
    lines: list[tuple[int, list[tuple[float, float]]]]
    labels: list[Label]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    levels: list[float]
    uprights: list[tuple[float, str]]
    marked: bool


def shares_axis(title: str, values: Sequence[float], text: Text) -> Axis:
    """For shares of images: up to 1, down to the tick below the smallest."""
    ticks = [float(t) for t in MaxNLocator(5).tick_values(min(*values, 0.9), 1.0)]
    ticks = [t for t in ticks if -1e-9 <= t <= 1 + 1e-9]
    return Axis(title, ticks[0], 1.0, ticks, text)


def amounts_axis(title: str, values: Sequence[float], text: Text, steps: int = 5) -> Axis:
    """For amounts, from 0 or below."""
    low, high = min(*values, 0.0), max(*values, 1e-9)
    ticks = [float(t) for t in MaxNLocator(steps).tick_values(low, high)]
    return Axis(title, ticks[0], ticks[-1], ticks, text)


def ratio_axis(
    title: str, values: Sequence[float], text: Text, ticks: Sequence[float] | None = None
) -> Axis:
    """A logarithmic axis around positive values."""
    low, high = min(values) / 1.15, max(values) * 1.15
    for subs in ((1, 2, 5), (1, 3), (1,)):
        found = LogLocator(10, subs=subs).tick_values(low, high) if ticks is None else ticks
        axis = Axis(title, low, high, [float(t) for t in found if low <= t <= high], text, log=True)
        placed = [(100 * axis(tick), text(tick)) for tick in axis.ticks]
        if ticks is not None or _thinned(placed) == placed:
            break
    return axis


def chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    rules: Sequence[Rule] = (),
    height: int = HEIGHT,
    marked: bool = True,
) -> Chart:
    """Place lines, ticks and labels; every value lies inside the axes."""
    lines = [
        (one.tone, [(100 * x(a), height * (1 - y(b))) for a, b in one.points]) for one in series
    ]
    ends = zip(series, lines, strict=True)
    labels = [Label(one.name, points[-1][1], one.tone) for one, (_, points) in ends]
    level = [(rule.name, height * (1 - y(rule.y))) for rule in rules if rule.y is not None]
    labels += [Label(name, top, None) for name, top in level if name]
    return Chart(
        title=y.title,
        x_title=x.title,
        description=f"{y.title} over {x.title}. " + " ".join(_told(one, x, y) for one in series),
        height=height,
        lines=lines,
        labels=_apart(labels, height),
        x_ticks=_thinned([(100 * x(tick), x.text(tick)) for tick in x.ticks]),
        y_ticks=[(height * (1 - y(tick)), y.text(tick)) for tick in y.ticks],
        levels=[top for _, top in level],
        uprights=[(100 * x(rule.x), rule.name) for rule in rules if rule.x is not None],
        marked=marked,
    )


def _told(series: Series, x: Axis, y: Axis) -> str:
    (x0, y0), (x1, y1) = series.points[0], series.points[-1]
    return f"{series.name}: {y.text(y0)} at {x.text(x0)}, {y.text(y1)} at {x.text(x1)}."


def _thinned(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without those whose text would touch the one before."""
    kept: list[tuple[float, str]] = []
    for at, text in ticks:
        if not kept or at - kept[-1][0] >= CHARACTER * max(len(text), len(kept[-1][1])):
            kept.append((at, text))
    return kept


def _apart(labels: list[Label], height: int) -> list[Label]:
    """Moved down, and then up from the lower edge, until none lies over another."""
    placed = sorted(labels, key=lambda label: label.top)
    for above, below in zip(placed, placed[1:], strict=False):
        below.top = max(below.top, above.top + LABEL_GAP)
    limit = float(height)
    for label in reversed(placed):
        label.top = min(label.top, limit)
        limit = label.top - LABEL_GAP
    return placed
