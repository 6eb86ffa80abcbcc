"""Curves as charts: accuracy over timesteps and over energy, and spikes over timesteps."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from matplotlib.figure import Figure

from spikeport.report.drawing.axes import Axis, amounts_axis, ratio_axis, shares_axis
from spikeport.report.drawing.lines import (
    WIDTH,
    Chart,
    Rule,
    Series,
    caption_height,
    chart_figure,
    write_caption,
)
from spikeport.report.drawing.style import SMALL, wrapped
from spikeport.report.number_format import joules, percent, plain

MEASURES = {"top1": "Top-1 accuracy", "agreement": "Agreement", "output_error": "Output error"}
SPIKES = "Spikes per neuron and image"
TIMESTEPS, ENERGY = "timesteps T", "energy per image, estimate"


class Measured(Protocol):
    """A curve, see ``Curve``."""

    rows: list[dict[str, Any]]
    info: dict[str, Any]

    @property
    def exits(self) -> list[dict[str, Any]]:
        """The rows of early exit."""


def draw_curves(curves: Mapping[str, Measured]) -> Figure:
    """Accuracy and agreement against timesteps, and against estimated energy.

    Where a network gives no class scores, its output error is drawn instead. Of several networks
    one measure is drawn, which all of them have.

    Args:
        curves: by name; the name of a single one is not shown.
    """
    charts = own_charts(*curves.values()) if len(curves) == 1 else shared_charts(curves)
    told = [_caption(name, curve) for name, curve in curves.items() if curve.info]
    lines = [line for text in told for line in wrapped(text, 2 * WIDTH - 8, SMALL)]
    figure = chart_figure(charts[:2], titled=True, above=caption_height(lines))
    write_caption(figure, lines)
    return figure


def _caption(name: str, curve: Measured) -> str:
    """The facts that a number of timesteps has to be quoted with."""
    info, last = curve.info, curve.rows[-1]
    levels = "/".join(map(str, info["levels_per_timestep"]))
    made = f"{info.get('source', 'network')}, {info['neuron_label']}"
    return (
        f"{name}: {made}".removeprefix(": ")
        + f": {levels} levels per timestep, {last['spikes_per_neuron']:.1f} spikes per neuron at "
        f"T={last['timesteps']}, readout: {info['readout']}"
    )


def own_charts(curve: Measured) -> list[Chart]:
    """Accuracy over timesteps and over energy, and spikes over timesteps, of one network."""
    rows, info = curve.rows, curve.info
    measures = [key for key in ("agreement", "top1") if rows[0][key] is not None]
    share = bool(measures)
    measures = measures or ["output_error"]
    named = {key: MEASURES[key].split()[0] for key in measures}
    lines = [(named[key], curve, key, tone) for tone, key in enumerate(measures)]
    top, dense = info.get("source_top1"), info.get("source_energy_uj")
    level = [] if top is None else [Rule("source", y=top)]
    upright = [] if dense is None else [Rule("source, dense", x=dense * 1e-6)]
    title = "Share of images" if share else "Relative output error"
    return _charts(lines, title, share, level, upright, [("Spikes", curve, 2)])


def shared_charts(curves: Mapping[str, Measured]) -> list[Chart]:
    """The same of several networks, a line for each, of a measure that all of them have."""
    rows = [row for curve in curves.values() for row in curve.rows]
    measure = next(key for key in MEASURES if all(row[key] is not None for row in rows))
    names = _without_common_start(list(curves))
    named = list(zip(names, curves.values(), strict=True))
    level, upright = [], []
    infos = [curve.info for curve in curves.values()]
    tops = {info["source_top1"] for info in infos if info.get("source_top1") is not None}
    if measure == "top1" and len(tops) == 1:
        level.append(Rule("source", y=tops.pop()))
    energies = {info["source_energy_uj"] for info in infos if info.get("source_energy_uj")}
    if len(energies) == 1:
        upright.append(Rule("source, dense", x=energies.pop() * 1e-6))
    return _charts(
        [(name, curve, measure, tone) for tone, (name, curve) in enumerate(named)],
        MEASURES[measure],
        measure != "output_error",
        level,
        upright,
        [(name, curve, tone) for tone, (name, curve) in enumerate(named)],
    )


def _charts(
    lines: Sequence[tuple[str, Measured, str, int]],
    title: str,
    share: bool,
    level: list[Rule],
    upright: list[Rule],
    spikes: Sequence[tuple[str, Measured, int]],
) -> list[Chart]:
    """Charts of (name, curve, measure, tone) for each line, (name, curve, tone) for the spikes."""
    over_time = [_series(name, c, "timesteps", key, tone) for name, c, key, tone in lines]
    over_energy = [_series(name, c, "energy_uj", key, tone) for name, c, key, tone in lines]
    rates = [_series(name, c, "timesteps", "spikes_per_neuron", tone) for name, c, tone in spikes]
    values = [y for one in over_time for _, y in (*one.points, *one.stars)]
    values += [rule.y for rule in level if rule.y is not None]
    height = _height(title, values, share)
    counts = [y for one in rates for _, y in (*one.points, *one.stars)]
    return [
        Chart(_timesteps(over_time), height, over_time, level),
        Chart(_energy(over_energy, upright), height, over_energy, [*level, *upright]),
        Chart(_timesteps(rates), amounts_axis(SPIKES, counts, plain), rates),
    ]


def _series(name: str, curve: Measured, x: str, y: str, tone: int) -> Series:
    factor = 1e-6 if x == "energy_uj" else 1.0

    def points(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
        return [(row[x] * factor, row[y]) for row in rows if row.get(y) is not None]

    return Series(name, points(curve.rows), tone, points(curve.exits))


def _without_common_start(names: list[str]) -> list[str]:
    """Names that tell the networks apart, without what all of them begin with."""
    same = os.path.commonprefix(names)
    same = same[: max(same.rfind(mark) for mark in "_-. /") + 1]
    return [name.removeprefix(same) or name for name in names]


def _timesteps(series: Sequence[Series]) -> Axis:
    times = sorted({float(time) for one in series for time, _ in one.points})
    stars = [time for one in series for time, _ in one.stars]
    return ratio_axis(TIMESTEPS, [*times, *stars], plain, times)


def _energy(series: Sequence[Series], rules: Sequence[Rule]) -> Axis:
    values = [x for one in series for x, _ in (*one.points, *one.stars)]
    values += [rule.x for rule in rules if rule.x is not None]
    return ratio_axis(ENERGY, values, joules)


def _height(title: str, values: Sequence[float], share: bool) -> Axis:
    if share:
        return shares_axis(title, values, partial(percent, digits=0))
    return amounts_axis(title, values, plain)
