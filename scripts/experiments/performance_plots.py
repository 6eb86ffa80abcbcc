"""The plots of docs/performance.md."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 80


def shape_name(shape: list[int]) -> str:
    """ "128 → 128, 3×3, 28×28"."""
    inputs, outputs, size, kernel, groups = shape
    kind = "" if groups == 1 else ", depthwise" if groups == inputs else f", {groups} groups"
    return f"{inputs} → {outputs}, {kernel}×{kernel}, {size}×{size}{kind}"


def roof(row: dict[str, Any], kernels: dict[str, Any]) -> float:
    """Additions per second that a layer could reach: of the adders, or of its bytes."""
    adds = row["adds_per_second"] * row["milliseconds"] / 1e3
    copy: float = kernels["machine"]["copy_bytes_per_second"]
    return min(float(kernels["peak_adds"]), adds / row["bytes"] * copy)


def plot_time(benches: list[dict[str, Any]], kernels: dict[str, Any], path: Path) -> None:
    """Time over T: whole networks, and layers at a fixed density; dashed: proportional to T."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    networks, layers = figure.subplots(1, 2)
    for model in (model for bench in benches for model in bench["models"]):
        for name in ("cpu", "torch", *model["peers"]):
            rows = [row for row in model["rows"] if name in row["contenders"]]
            x = [row["timesteps"] for row in rows]
            y = [row["contenders"][name]["seconds"] for row in rows]
            networks.plot(x, y, "o-", markersize=4, label=f"{model['model']}: {name}")
    _axes(networks, "timesteps T", "seconds per batch", "networks")
    _doubling(networks)
    rows = kernels.get("over_time", [])
    _over(layers, rows, "timesteps", "milliseconds")
    density = f" at density {rows[0]['density']:g}" if rows else ""
    _axes(layers, "timesteps T", "milliseconds", f"single layers{density}")
    _doubling(layers)
    figure.savefig(path, dpi=DPI)


def plot_density(kernels: dict[str, Any], path: Path) -> None:
    """Time over density: the engine, and torch's dense path where it crosses."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    rows = kernels.get("over_density", [])
    _over(axes, rows, "density", "milliseconds")
    for line, shape in zip(list(axes.lines), _shapes(rows), strict=True):
        mine = [row for row in rows if row["shape"] == shape]
        dense = [row["milliseconds"] * row["times_faster_than_dense"] for row in mine]
        x = [row["density"] for row in mine]
        axes.plot(x, dense, ":", color=line.get_color(), linewidth=1)
    times = f" at T={rows[0]['timesteps']}" if rows else ""
    _axes(axes, "density (spikes per input and timestep)", "milliseconds", f"dotted: dense{times}")
    figure.savefig(path, dpi=DPI)


def plot_roofline(kernels: dict[str, Any], path: Path) -> None:
    """Additions per second over additions per byte, under the two roofs."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    peak, copy = kernels["peak_adds"], kernels["machine"]["copy_bytes_per_second"]
    found = [
        (row, row["adds_per_second"] / row["bytes_per_second"], row["adds_per_second"])
        for row in kernels["rows"]
    ]
    ends = [min(x for _, x, _ in found) / 2, max(x for _, x, _ in found) * 2]
    corners = sorted([*ends, min(max(peak / copy, ends[0]), ends[1])])
    axes.plot(corners, [min(peak, x * copy) / 1e9 for x in corners], "k-", linewidth=1)
    for shape in _shapes(kernels["rows"]):
        mine = [(x, y / 1e9) for row, x, y in found if row["shape"] == shape]
        axes.plot(*zip(*mine, strict=True), "o-", markersize=4, label=shape_name(shape))
    _axes(
        axes, "additions per byte", "Gadd/s", "line: the roof; points: density rises to the right"
    )
    figure.savefig(path, dpi=DPI)


def _doubling(axes: "Axes") -> None:
    """Time on a scale of powers of two, and a line of what grows linearly in it."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    if not axes.lines:
        return
    points = [np.asarray(line.get_xydata(), float) for line in axes.lines]  # [n, 2] each
    begin, low = np.concatenate(points).min(0)
    end = np.concatenate(points)[:, 0].max()
    axes.plot([begin, end], [low, low * end / begin], "--", color="gray", linewidth=1)


def _over(axes: "Axes", rows: list[dict[str, Any]], x: str, y: str) -> None:
    for shape in _shapes(rows):
        mine = [row for row in rows if row["shape"] == shape]
        label = shape_name(shape)
        axes.plot(
            [row[x] for row in mine], [row[y] for row in mine], "o-", markersize=4, label=label
        )


def _shapes(rows: list[dict[str, Any]]) -> list[list[int]]:
    found: list[list[int]] = []
    for row in rows:
        if row["shape"] not in found:
            found.append(row["shape"])
    return found


def _axes(axes: "Axes", x: str, y: str, title: str) -> None:
    axes.set(xlabel=x, ylabel=y, xscale="log", yscale="log", title=title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="x-small")
