"""The plot of an inspection: what each layer makes of the output error, part by part."""

import os
from typing import TYPE_CHECKING

from spikeport.report.inspecting.inspection import PARTS

if TYPE_CHECKING:
    from spikeport.report.inspecting.inspection import Inspection

DRAWN = 24  # worst layers


def plot_inspection(inspection: "Inspection", path: str | os.PathLike[str]) -> None:
    """Draw stacked bars of the parts, and the gain beside them, to a file.

    Args:
        inspection: its first 24 rows are drawn.
        path: image file, in any format that matplotlib writes.
    """
    from matplotlib.figure import Figure  # not before something is drawn: it takes time

    rows = inspection.rows[:DRAWN]
    figure = Figure(figsize=(9, 1.6 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    above, below = [0.0] * len(rows), [0.0] * len(rows)
    for name in PARTS:
        shares = [row[name] for row in rows]
        if not any(shares):
            continue
        starts = [a if s > 0 else b for a, b, s in zip(above, below, shares, strict=True)]
        axes.barh(places, shares, left=starts, label=name)
        above = [a + max(s, 0.0) for a, s in zip(above, shares, strict=True)]
        below = [b + min(s, 0.0) for b, s in zip(below, shares, strict=True)]
    axes.plot([row["gain"] for row in rows], places, "kd", markersize=4, label="gain if exact")
    axes.set_yticks(places, [row["layer"] for row in rows])
    axes.invert_yaxis()
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_xlabel("share of the output error")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    info = inspection.info
    figure.suptitle(
        f"{info.get('source', 'network')}, {info.get('neuron', 'neurons')}, T={info['timesteps']}: "
        f"output error {info['output_error']:.3f}, explained {inspection.explained:.0%}",
        fontsize="small",
    )
    figure.savefig(path, dpi=150)
