"""Spikes of a few neurons, and the membrane potential of one, over the timesteps."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from torch import Tensor

from spikeport.report.drawing.axes import Axis, amounts_axis
from spikeport.report.drawing.lines import BELOW, BESIDE, WIDTH, place_axes, set_axes, write
from spikeport.report.drawing.style import SOFT, TONES, blank, text_width
from spikeport.report.number_format import plain

ROW = 20.0  # of a neuron, points
POTENTIAL = 100.0  # height of the potential's area
BETWEEN, TITLE = 36.0, 24.0
LEAST = 0.3  # length of the smallest event's mark, as a share of the largest's
UP, DOWN, THRESHOLD = "spike", "taken back", "threshold"


def draw_spikes(
    spikes: Tensor, names: Sequence[str], before: Tensor, after: Tensor, traced: int
) -> Figure:
    """A raster with a row for each neuron, and one neuron's membrane potential below it.

    The larger an event the longer its mark; what is taken back hangs down.

    Args:
        spikes: [n, T], events in thresholds, negative ones taken back.
        names: of the neurons.
        before: [T], potential of the neuron ``traced`` when it decides whether to fire, in
            thresholds.
        after: [T], the same once what it emitted has been subtracted.
        traced: row of that neuron.
    """
    count, T = spikes.shape
    tall = BELOW + POTENTIAL + BETWEEN + ROW * count + TITLE
    figure = blank(WIDTH, tall)
    x = Axis("timestep", 0.0, float(T), [range(0, T + 1, max(1, T // 4))], plain)
    potential = _potential(before, after)
    texts = [*names, *(potential.text(tick) for tick in potential.ticks[0])]
    left = max(map(text_width, texts)) + BESIDE
    length = WIDTH - left - max(map(text_width, (UP, DOWN, THRESHOLD))) - 1.5 * BESIDE
    rows = Axis("", 0.0, float(count), [[count - 0.5 - row for row in range(count)]], plain)
    upper = place_axes(figure, left, BELOW + POTENTIAL + BETWEEN, length, ROW * count)
    set_axes(upper, x, rows, length)
    upper.set_yticks(rows.ticks[0], list(names))
    upper.set(xlabel="", xticklabels=[])
    _draw_events(upper, spikes, length / T)
    write(figure, 2, tall - 14, f"Spikes of {count} neurons, by channel")
    lower = place_axes(figure, left, BELOW, length, POTENTIAL)
    set_axes(lower, x, potential, length)
    points = [(t + 0.5, v) for t, pair in enumerate(_pairs(before, after)) for v in pair]
    lower.plot(*zip(*points, strict=True), color=TONES[0], linewidth=1.4)
    lower.axhline(1.0, color=SOFT, linestyle=(0, (3, 3)), linewidth=1.2)
    _beside(lower, THRESHOLD, 1.0, SOFT)
    name = names[traced]
    write(figure, 2, BELOW + POTENTIAL + 12, f"Membrane potential in thresholds, channel {name}")
    return figure


def describe_spikes(layer: str, spikes: Tensor, names: Sequence[str]) -> str:
    """The raster in words."""
    counts = spikes.abs().sum(1).tolist()
    told = "; ".join(f"channel {name}: {int(n)}" for name, n in zip(names, counts, strict=True))
    return (
        f"Spikes of {len(names)} neurons of {layer} over {spikes.shape[1]} timesteps, and the "
        f"membrane potential of one. Spikes in all, by neuron: {told}."
    )


def _draw_events(axes: Axes, spikes: Tensor, timestep: float) -> None:
    """The marks; ``timestep`` is the width of one in points."""
    count = len(spikes)
    largest = max(float(spikes.abs().max()), 1.0)
    width = min(3.0, max(0.8, 0.5 * timestep))
    signed = bool((spikes < 0).any())
    foot, longest = (0.5, 0.47) if signed else (0.1, 0.82)  # of a row
    for sign, tone, name in ((1, 0, UP), (-1, 1, DOWN)):
        corners = []
        for row, time in (spikes * sign > 0).nonzero().tolist():
            share = abs(float(spikes[row, time])) / largest
            length = sign * longest * (LEAST + (1 - LEAST) * share)
            base = count - 1 - row + foot
            corners += [(time + 0.5, base), (time + 0.5, base + length)]
        if corners:  # one path for all: a thousand of them would make a page heavy
            path = Path(corners, [Path.MOVETO, Path.LINETO] * (len(corners) // 2))
            look = {"facecolor": "none", "edgecolor": TONES[tone], "linewidth": width}
            axes.add_patch(PathPatch(path, **look))
            _beside(axes, name, count - 0.5 - (sign < 0), TONES[tone])


def _beside(axes: Axes, text: str, y: float, color: str) -> None:
    axes.annotate(
        text,
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(BESIDE, 0),
        textcoords="offset points",
        va="center",
        color=color,
    )


def _potential(before: Tensor, after: Tensor) -> Axis:
    values = [1.0, *before.tolist(), *after.tolist()]
    return amounts_axis("", values, plain, steps=3)


def _pairs(before: Tensor, after: Tensor) -> list[tuple[float, float]]:
    return list(zip(before.tolist(), after.tolist(), strict=True))
