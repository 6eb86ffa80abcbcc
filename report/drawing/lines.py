"""Line charts whose lines carry their names at their ends."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeport.report.drawing.axes import Axis
from spikeport.report.drawing.style import (
    INK,
    MARKERS,
    PAPER,
    RULE,
    SIZE,
    SMALL,
    SOFT,
    TONES,
    blank,
    shortened,
    text_width,
)

WIDTH = 352.0  # of a chart, points
AREA = 206.0  # height of its plot area
ABOVE, TITLE, BELOW = 20.0, 22.0, 42.0  # names of upright rules; the title; ticks and their title
BESIDE = 8.0  # between the area and text
NAMES = 108.0  # the widest name
LINE = 15.0  # between the names of two lines


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: shown at its end.
        points: (x, y) in the units of the axes, from left to right.
        tone: which colour and marker.
        stars: (x, y) of points beside the line.
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: int = 0
    stars: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Rule:
    """A value to compare with, as a line across: level with ``y``, upright with ``x``."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class Chart:
    """Lines over one axis; every value lies inside the axes."""

    x: Axis
    y: Axis
    series: Sequence[Series]
    rules: Sequence[Rule] = ()

    @property
    def description(self) -> str:
        """The chart in words, for those who do not see it."""
        told = " ".join(self._told(series) for series in self.series)
        return f"{self.y.title} over {self.x.title}. {told}"

    def _told(self, series: Series) -> str:
        (x0, y0), (x1, y1) = series.points[0], series.points[-1]
        x, y = self.x.text, self.y.text
        return f"{series.name}: {y(y0)} at {x(x0)}, {y(y1)} at {x(x1)}."


def chart_figure(charts: Sequence[Chart], titled: bool, above: float = 0.0) -> Figure:
    """Charts side by side.

    Args:
        charts: at least one.
        titled: write the title of each y axis over it.
        above: room for text over all of them, points.
    """
    top = ABOVE + (TITLE if titled else 0.0)
    figure = blank(WIDTH * len(charts), above + top + AREA + BELOW)
    for index, chart in enumerate(charts):
        _draw(figure, chart, WIDTH * index)
        if titled:
            write(figure, WIDTH * index + 2, BELOW + AREA + ABOVE + 6, chart.y.title)
    return figure


def _draw(figure: Figure, chart: Chart, start: float) -> None:
    """One chart in WIDTH points from ``start`` on, at the lower edge."""
    y_ticks = [(tick, chart.y.text(tick)) for tick in chart.y.ticks[0]]
    names = [one.name for one in chart.series] + [r.name for r in chart.rules if r.y is not None]
    names = [shortened(name, NAMES, bold=True) for name in names if name]
    left = max(text_width(text) for _, text in y_ticks) + BESIDE
    right = max((text_width(name, bold=True) for name in names), default=0.0) + 1.5 * BESIDE
    length = WIDTH - left - right
    axes = place_axes(figure, start + left, BELOW, length, AREA)
    set_axes(axes, chart.x, chart.y, length)
    for one in chart.series:
        tone = one.tone % len(TONES)
        look = {"color": TONES[tone], "markeredgecolor": PAPER, "clip_on": False, "zorder": 3}
        x, y = zip(*one.points, strict=True)
        axes.plot(x, y, marker=MARKERS[tone], markersize=7, **look)  # type: ignore[arg-type]
        for star in one.stars:
            axes.plot(*star, marker="*", markersize=14, **look)  # type: ignore[arg-type]
    _draw_rules(axes, chart, length)
    _name_lines(axes, chart)


def write(figure: Figure, left: float, bottom: float, text: str) -> None:
    """A title, in points from the lower left corner."""
    full, tall = (72 * float(side) for side in figure.get_size_inches())
    figure.text(left / full, bottom / tall, text, color=INK, weight="bold")


def caption_height(lines: Sequence[str]) -> float:
    """Points that the lines of a caption take."""
    return (1.35 * len(lines) + 0.8) * SMALL if lines else 0.0


def write_caption(figure: Figure, lines: Sequence[str]) -> None:
    """Small text from the upper left corner on."""
    full, tall = (72 * float(side) for side in figure.get_size_inches())
    for index, line in enumerate(lines):
        figure.text(2 / full, 1 - (1.35 * index + 1.2) * SMALL / tall, line, size=SMALL)


def place_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes in a box given in points from the lower left corner."""
    full, tall = (72 * float(side) for side in figure.get_size_inches())
    return figure.add_axes((left / full, bottom / tall, width / full, height / tall))


def set_axes(axes: Axes, x: Axis, y: Axis, length: float) -> None:
    """Ranges, ticks and level grid lines, for an area of so many points in width."""
    axes.set_xscale("log" if x.log else "linear")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    x_ticks = x.fitting(length)
    axes.set_xticks(x_ticks, [x.text(tick) for tick in x_ticks])
    axes.set_yticks(y.ticks[0], [y.text(tick) for tick in y.ticks[0]])
    axes.set_xticks([], minor=True)
    axes.tick_params(length=0, pad=BESIDE / 2)
    axes.grid(axis="y", color=RULE)
    axes.set_xlabel(x.title)


def _draw_rules(axes: Axes, chart: Chart, length: float) -> None:
    look = {"color": SOFT, "linestyle": (0, (3, 3)), "linewidth": 1.2}
    for rule in chart.rules:
        if rule.y is not None:
            axes.axhline(rule.y, **look)  # type: ignore[arg-type]
        if rule.x is not None:
            axes.axvline(rule.x, **look)  # type: ignore[arg-type]
            half = text_width(rule.name) / 2
            at = min(max(chart.x.place(rule.x) * length, half), length - half)
            axes.annotate(rule.name, (at, AREA + 7), xycoords="axes points", ha="center")


def _name_lines(axes: Axes, chart: Chart) -> None:
    """The names of the lines and the level rules beside the area, none over another."""
    found = [(chart.y.place(one.points[-1][1]), one.name, one.tone) for one in chart.series]
    for rule in chart.rules:
        if rule.y is not None:
            found.append((chart.y.place(rule.y), rule.name, -1))
    found = sorted((one for one in found if one[1]), key=lambda one: -one[0])
    for (_, name, tone), height in zip(
        found, _apart([AREA * at for at, _, _ in found]), strict=True
    ):
        axes.annotate(
            shortened(name, NAMES, bold=True),
            (1.0, height),
            xycoords=("axes fraction", "axes points"),
            xytext=(BESIDE, 0),
            textcoords="offset points",
            va="center",
            color=SOFT if tone < 0 else TONES[tone % len(TONES)],
            weight="normal" if tone < 0 else "bold",
            size=SIZE,
        )


def _apart(heights: list[float]) -> list[float]:
    """Falling heights, moved down, and then up from the lower edge, until they are LINE apart."""
    for index in range(1, len(heights)):
        heights[index] = min(heights[index], heights[index - 1] - LINE)
    least = 5.0  # clear of the ticks
    for index in reversed(range(len(heights))):
        heights[index] = max(heights[index], least)
        least = heights[index] + LINE
    return heights
