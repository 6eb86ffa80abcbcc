"""Bars of each layer's share of the output error, part by part."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from spikeport.report.drawing.axes import amounts_axis
from spikeport.report.drawing.lines import BELOW, BESIDE, caption_height, place_axes, write_caption
from spikeport.report.drawing.style import (
    INK,
    SMALL,
    SOFT,
    TONES,
    blank,
    shortened,
    text_width,
    wrapped,
)
from spikeport.report.number_format import percent

DRAWN = 24  # worst layers
BAR = 19.0  # height of a layer's row, points
WIDTH, NAMES, LEGEND = 640.0, 200.0, 28.0


def draw_error_bars(
    rows: Sequence[Mapping[str, Any]], parts: Sequence[str], caption: str
) -> Figure:
    """Stacked bars of the parts, and a mark at the gain.

    Args:
        rows: of an ``Inspection``; the first 24 are drawn.
        parts: keys of the rows.
        caption: written above, wrapped.
    """
    rows = rows[:DRAWN]
    lines = wrapped(caption, WIDTH - 8, SMALL)
    tall = BELOW + BAR * len(rows) + LEGEND + caption_height(lines)
    figure = blank(WIDTH, tall)
    names = [shortened(row["layer"], NAMES) for row in rows]
    left = max(map(text_width, names)) + BESIDE
    axes = place_axes(figure, left, BELOW, WIDTH - left - 3 * BESIDE, BAR * len(rows))
    places = range(len(rows))
    above, below = [0.0] * len(rows), [0.0] * len(rows)
    for tone, name in enumerate(parts):
        shares = [row[name] for row in rows]
        if not any(shares):
            continue
        starts = [a if s > 0 else b for a, b, s in zip(above, below, shares, strict=True)]
        axes.barh(places, shares, 0.62, left=starts, label=name, color=TONES[tone])
        above = [a + max(s, 0.0) for a, s in zip(above, shares, strict=True)]
        below = [b + min(s, 0.0) for b, s in zip(below, shares, strict=True)]
    gains = [row["gain"] for row in rows]
    axes.plot(gains, places, "D", color=INK, markersize=5, linestyle="", label="gain if exact")
    axes.set_yticks(places, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(0, color=SOFT, linewidth=1)
    x = amounts_axis("share of the output error", [*above, *below, *gains], _percent, steps=8)
    ticks = x.fitting(WIDTH - left - 3 * BESIDE)
    axes.set_xlim(x.low, x.high)
    axes.set_xticks(ticks, [x.text(tick) for tick in ticks])
    axes.set_xlabel(x.title)
    axes.tick_params(length=0, pad=BESIDE / 2)
    axes.grid(axis="x")
    handles, labels = axes.get_legend_handles_labels()
    top = 1 - caption_height(lines) / tall
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.0, top),
        ncols=len(labels),
        borderaxespad=0.2,
        columnspacing=1.4,
        handlelength=1.0,
    )
    write_caption(figure, lines)
    return figure


def _percent(share: float) -> str:
    return percent(share, 0)
