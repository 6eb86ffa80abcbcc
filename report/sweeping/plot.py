"""Plots of curves."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from spikeport.report.sweeping.curve import Curve


def plot_curves(curves: "dict[str, Curve]", path: str | os.PathLike[str]) -> None:
    """Draw accuracy and agreement against timesteps, and against estimated energy, to a file.

    Where a network gives no class scores, its output error is drawn instead.

    Args:
        curves: one line for each; the name "" stands for a single unnamed curve.
        path: image file, in any format that matplotlib writes.
    """
    from matplotlib.figure import Figure  # not before something is drawn: it takes time

    figure = Figure(figsize=(10, 4), layout="constrained")
    latency, energy = figure.subplots(1, 2, sharey=True)
    for name, curve in curves.items():
        for axes, key in ((latency, "timesteps"), (energy, "energy_uj")):
            _draw(axes, name, curve, key)
    scores = any(row["agreement"] is not None for curve in curves.values() for row in curve.rows)
    latency.set(xlabel="timesteps T", ylabel="share of images" if scores else "output error")
    latency.set_ylim(0, 1.02 if scores else None)
    latency.set_xscale("log", base=2)
    latency.xaxis.set_major_formatter("{x:g}")
    energy.set(xlabel="energy estimate per image (µJ)")
    energy.set_xscale("log")
    energy.xaxis.set_major_formatter("{x:g}")
    energy.xaxis.set_minor_formatter("")
    for axes in (latency, energy):
        axes.grid(alpha=0.3)
    latency.legend(loc="lower right")
    if len(curves) == 1 and next(iter(curves.values())).info:
        figure.suptitle(_caption(next(iter(curves.values()))), fontsize="small")
    figure.savefig(path, dpi=150)


def _draw(axes: "Axes", name: str, curve: "Curve", key: str) -> None:
    x = [row[key] for row in curve.rows]
    labels = {
        "agreement": "agreement with the source network",
        "top1": "top-1 accuracy",
        "output_error": "relative output error",
    }
    color = None
    scores = curve.rows[0]["agreement"] is not None
    for measure, style in (("agreement", "o-"), ("top1", "s--"), ("output_error", "o-")):
        y = [row[measure] for row in curve.rows]
        if None not in y and not (scores and measure == "output_error"):
            label = f"{name}: {labels[measure]}".removeprefix(": ")
            (line,) = axes.plot(x, y, style, label=label, color=color, markersize=4)
            color = line.get_color()
            for row in curve.exits:
                axes.plot(row[key], row[measure], "*", color=color, markersize=10)
    source = curve.info.get("source_top1")
    if source is not None:
        axes.axhline(
            source,
            color=color,
            linestyle=":",
            linewidth=1,
            label=f"{name}: source top-1".removeprefix(": "),
        )
    if key == "energy_uj" and "source_energy_uj" in curve.info:
        dense = curve.info["source_energy_uj"]
        label = f"{name}: source network, dense".removeprefix(": ")
        axes.axvline(dense, color="gray", linestyle=":", linewidth=1)
        axes.annotate(label, (dense, 0.05), rotation=90, ha="right", fontsize="small", color="gray")


def _caption(curve: "Curve") -> str:
    """What a number of timesteps has to be quoted with."""
    levels = "/".join(map(str, curve.info["levels_per_timestep"]))
    made = f"{curve.info.get('source', 'network')}, {curve.info.get('neuron', 'spiking')}"
    return (
        f"{made}: {levels} levels per timestep, {curve.rows[-1]['spikes_per_neuron']:.1f} spikes "
        f"per neuron at T={curve.rows[-1]['timesteps']}, readout: {curve.info['readout']}"
    )
