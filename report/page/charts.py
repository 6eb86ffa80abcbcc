"""The charts of a page, from what was measured."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from spikeport.report.page.chart_layout import (
    TONES,
    Axis,
    Chart,
    Rule,
    Series,
    amounts_axis,
    chart,
    ratio_axis,
    shares_axis,
)
from spikeport.report.page.measured_network import Subject
from spikeport.report.page.number_format import joules, percent, plain
from spikeport.report.page.spike_traces import Trace

ROW = 18  # height of a neuron in a raster, px
TRACE_HEIGHT = 120
NAME = 12  # letters that fit beside a chart on a phone
MEASURES = {"top1": "Top-1 accuracy", "agreement": "Agreement", "output_error": "Output error"}
SPIKES = "Spikes per neuron and image"


def own_charts(subject: Subject) -> list[Chart]:
    """Accuracy over timesteps and over energy, and spikes over timesteps, of one network."""
    rows, info = subject.curve.rows, subject.curve.info
    measures = [key for key in ("agreement", "top1") if rows[0][key] is not None]
    share = bool(measures)
    measures = measures or ["output_error"]
    top = info["source_top1"]
    source = [] if top is None else [Rule("source", y=top)]
    title = "Share of images" if share else "Relative output error"

    def series(x: str, factor: float = 1.0) -> list[Series]:
        return [
            Series(MEASURES[key].split()[0], [(row[x] * factor, row[key]) for row in rows], tone)
            for tone, key in enumerate(measures)
        ]

    dense = Rule("source, dense", x=info["source_energy_uj"] * 1e-6)
    spikes = [(row["timesteps"], row["spikes_per_neuron"]) for row in rows]
    return [
        _over_timesteps(title, series("timesteps"), source, share),
        _over_energy(title, series("energy_uj", 1e-6), [*source, dense], share),
        _over_timesteps(SPIKES, [Series("Spikes", spikes, 2)], [], False),
    ]


def shared_charts(subjects: Sequence[Subject]) -> list[Chart]:
    """One line for each network, of a measure that all of them have."""
    rows = [row for subject in subjects for row in subject.curve.rows]
    measure = next(key for key in MEASURES if all(row[key] is not None for row in rows))
    share = measure != "output_error"

    names = _short([one.name for one in subjects])

    def series(x: str, y: str, factor: float = 1.0) -> list[Series]:
        return [
            Series(name, [(row[x] * factor, row[y]) for row in one.curve.rows], tone % TONES)
            for tone, (name, one) in enumerate(zip(names, subjects, strict=True))
        ]

    source, dense = [], []
    tops = {one.curve.info["source_top1"] for one in subjects}
    if measure == "top1" and len(tops) == 1:
        source.append(Rule("source", y=tops.pop()))
    energies = {one.curve.info["source_energy_uj"] for one in subjects}
    if len(energies) == 1:
        dense.append(Rule("source, dense", x=energies.pop() * 1e-6))
    title, energy = MEASURES[measure], series("energy_uj", measure, 1e-6)
    spikes = series("timesteps", "spikes_per_neuron")
    return [
        _over_timesteps(title, series("timesteps", measure), source, share),
        _over_energy(title, energy, [*source, *dense], share),
        _over_timesteps(SPIKES, spikes, [], False),
    ]


def _short(names: list[str]) -> list[str]:
    """Names that fit beside a line: without what all of them begin with, and cut off."""
    same = os.path.commonprefix(names)
    same = same[: max(same.rfind(mark) for mark in "_-. /") + 1]
    rest = [name.removeprefix(same) or name for name in names]
    return [name if len(name) <= NAME else name[: NAME - 1] + "…" for name in rest]


def _over_timesteps(title: str, series: list[Series], rules: Sequence[Rule], share: bool) -> Chart:
    times = sorted({float(time) for one in series for time, _ in one.points})
    x = ratio_axis("timesteps", times, plain, times)
    return chart(series, x, _heights(title, series, rules, share), rules)


def _over_energy(title: str, series: list[Series], rules: Sequence[Rule], share: bool) -> Chart:
    values = [x for one in series for x, _ in one.points]
    values += [rule.x for rule in rules if rule.x is not None]
    x = ratio_axis("energy per image, estimate", values, joules)
    return chart(series, x, _heights(title, series, rules, share), rules)


def _heights(title: str, series: list[Series], rules: Sequence[Rule], share: bool) -> Axis:
    values = [y for one in series for _, y in one.points]
    values += [rule.y for rule in rules if rule.y is not None]
    if share:
        return shares_axis(title, values, partial(percent, digits=0))
    return amounts_axis(title, values, plain)


@dataclass(frozen=True)
class Raster:
    """Spikes of a few neurons: a row for each, a column for each timestep.

    Attributes:
        height: px.
        rows: (y of the middle, name).
        up: SVG path of the positive spikes; x in timesteps, y in px.
        down: the same of the negative ones.
        timesteps: width in those units.
        ticks: (x in per cent, text).
        description: for those who do not see it.
    """

    height: int
    rows: list[tuple[float, str]]
    up: str
    down: str
    timesteps: int
    ticks: list[tuple[float, str]]
    description: str


def raster(trace: Trace) -> Raster:
    """The spikes of a trace; the length of a mark is the size of the event."""
    largest = max(float(trace.spikes.abs().max()), 1.0)
    marks: dict[bool, list[str]] = {True: [], False: []}
    for index, row in enumerate(trace.spikes.tolist()):
        middle = ROW * (index + 0.5)
        for time, size in enumerate(row):
            if size:
                length = size / largest * (ROW / 2 - 1)
                marks[size > 0].append(f"M{time + 0.5:g} {middle:g}v{-length:.3g}")
    names = ["channel " + ", ".join(map(str, place)) for place in trace.positions]
    counts = trace.spikes.abs().sum(1).tolist()
    told = "; ".join(f"{name}: {int(n)}" for name, n in zip(names, counts, strict=True))
    timesteps = trace.spikes.shape[1]
    return Raster(
        height=ROW * len(names),
        rows=[(ROW * (i + 0.5), str(place[0])) for i, place in enumerate(trace.positions)],
        up="".join(marks[True]),
        down="".join(marks[False]),
        timesteps=timesteps,
        ticks=[(100 * t / timesteps, str(t)) for t in _time_ticks(timesteps)],
        description=f"Spikes of {len(names)} neurons of {trace.layer} over {timesteps} timesteps. "
        f"Spikes in all, by neuron: {told}.",
    )


def potential(trace: Trace) -> Chart:
    """The membrane potential of the traced neuron: up with its input, down when it fires."""
    pairs = zip(trace.before.tolist(), trace.after.tolist(), strict=True)
    points = [(t + 0.5, v) for t, pair in enumerate(pairs) for v in pair]
    values = [v for _, v in points]
    y = amounts_axis("Membrane potential of one, thresholds", [1.0, *values], plain, steps=3)
    T = len(trace.before)
    x = Axis("timestep", 0.0, float(T), _time_ticks(T), plain)
    rule = Rule("threshold", y=1.0)
    return chart([Series("", points)], x, y, [rule], TRACE_HEIGHT, marked=False)


def _time_ticks(timesteps: int) -> list[int]:
    return list(range(0, timesteps + 1, max(1, timesteps // 4)))


def density_points(density: Sequence[float]) -> str:
    """Polyline points of a small line in a box of 100 x 20: firing over time, from 0."""
    top = max(*density, 1e-9)
    last = max(len(density) - 1, 1)
    return " ".join(f"{100 * t / last:.3g},{19 - 18 * d / top:.3g}" for t, d in enumerate(density))
