"""The plot of `compare_methods`: what is lost, against latency and against spikes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeport.report.drawing.axes import Axis, ratio_axis
from spikeport.report.drawing.output import save_picture
from spikeport.report.drawing.style import SOFT, wrapped
from spikeport.report.number_format import plain
from spikeport.scripts.compare.results import OK, Row
from spikeport.scripts.compare.table import latency_class, lost

_MARKERS = "os^DvPX<>*"
_LOST = (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100)  # points, where to write them
_WIDTH = 350.0  # of a panel, points, at least
_LEAST = 0.01  # spikes per neuron; a silent network has its place on the logarithmic axis too


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draws a line for each recipe and neuron: colour says the recipe, marker the neuron."""
    save_picture(lambda: _figure(rows, title), path)


def _figure(rows: Sequence[Row], title: str) -> Figure:
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["recipe"], row["neuron"])):
        if row["status"] == OK:
            lines.setdefault((row["recipe"], row["neuron"]), []).append(row)
    figure = Figure(figsize=(15, 6), layout="constrained")
    latency, spikes = figure.subplots(1, 2, sharey=True)
    recipes = list(dict.fromkeys(recipe for recipe, _ in lines))
    neurons = list(dict.fromkeys(neuron for _, neuron in lines))
    colors = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    for (recipe, neuron), found in lines.items():
        color = colors[recipes.index(recipe) % len(colors)]
        marker = _MARKERS[neurons.index(neuron) % len(_MARKERS)]
        _draw(latency, spikes, found, f"{recipe}, {neuron}", color, marker)
    if lines:
        _set_axes(latency, spikes, [row for found in lines.values() for row in found])
        figure.legend(loc="outside right upper", fontsize="x-small", ncols=1 + len(lines) // 40)
    figure.suptitle("\n".join(wrapped(title, 1000)), x=0.01, horizontalalignment="left")
    return figure


def _draw(
    latency: Axes, spikes: Axes, rows: list[Row], name: str, color: tuple[float, ...], marker: str
) -> None:
    rows = sorted(rows, key=lambda row: row["T"])
    y = [lost(row) for row in rows]
    cost = [max(row["spikes_per_neuron"], _LEAST) for row in rows]
    style = "-" if latency_class(rows[0]) == "streaming" else ":"
    look = {"color": color, "marker": marker, "linestyle": style, "markersize": 4, "linewidth": 1}
    latency.plot([row["T"] for row in rows], y, label=name, **look)  # type: ignore[arg-type]
    spikes.plot(cost, y, **look)  # type: ignore[arg-type]


def _set_axes(latency: Axes, spikes: Axes, rows: Sequence[Row]) -> None:
    unlabelled = any(row["drop_points"] is None for row in rows)
    times = sorted({float(row["T"]) for row in rows})
    counts = [max(row["spikes_per_neuron"], _LEAST) for row in rows]
    latency.set_ylabel("images that change class (%)" if unlabelled else "top-1 lost (points)")
    losses = [lost(row) for row in rows]
    low, high = min(*losses, -0.2) - 0.1, 1.25 * max(*losses, 1.0)
    _set_x(latency, ratio_axis("timesteps T", times, plain, times))
    _set_x(spikes, ratio_axis("spikes per neuron and image", counts, plain))
    for axes in (latency, spikes):
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_ylim(low, high)
        axes.set_yticks([tick for tick in _LOST if low <= tick <= high])
        axes.set_yticks([], minor=True)
        axes.yaxis.set_major_formatter(lambda value, _: plain(value))
        axes.axhline(1.0, color=SOFT, linestyle=":", linewidth=1)
        axes.grid()


def _set_x(axes: Axes, x: Axis) -> None:
    ticks = x.fitting(_WIDTH)
    axes.set_xscale("log")
    axes.set_xlim(x.low, x.high)
    axes.set_xticks(ticks, [x.text(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(x.title)
