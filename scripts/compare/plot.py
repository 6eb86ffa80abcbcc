"""The plot of `compare_methods`: what is lost, against latency and against spikes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeport.scripts.compare.results import OK, Row
from spikeport.scripts.compare.table import latency_class, lost

_MARKERS = "os^DvPX<>*"
_LEAST = 0.01  # spikes per neuron; a silent network has its place on the logarithmic axis too


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draws a line for each recipe and neuron: colour says the recipe, marker the neuron."""
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
    _set_axes(latency, spikes, rows)
    if lines:
        figure.legend(loc="outside right upper", fontsize="x-small", ncols=1 + len(lines) // 40)
    figure.suptitle(title, fontsize="medium", x=0.01, horizontalalignment="left")
    figure.savefig(path, dpi=150)


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
    unlabelled = any(row["status"] == OK and row["drop_points"] is None for row in rows)
    what = "images that change class (%)" if unlabelled else "top-1 lost (points)"
    latency.set(xlabel="timesteps T", ylabel=what)
    latency.set_xscale("log", base=2)
    spikes.set(xlabel="spikes per neuron and image")
    spikes.set_xscale("log")
    for axes in (latency, spikes):
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_yticks([0, 0.3, 1, 2, 5, 10, 20, 50, 100])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.axhline(1.0, color="gray", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
