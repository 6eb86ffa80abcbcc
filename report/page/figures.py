"""The figures of a page, as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spikeport.report.drawing.curves import own_charts, shared_charts
from spikeport.report.drawing.lines import Chart, chart_figure
from spikeport.report.drawing.output import Page
from spikeport.report.drawing.spikes import describe_spikes, draw_spikes
from spikeport.report.drawing.style import TONES, blank
from spikeport.report.number_format import percent
from spikeport.report.page.spike_traces import Trace
from spikeport.report.sweeping.curve import Curve

SPARK = (72.0, 20.0)  # a small line in a table, points


@dataclass(frozen=True)
class Picture:
    """A figure on a page.

    Attributes:
        title: for its caption.
        svg: an ``<svg>`` element.
    """

    title: str
    svg: str


class Figures:
    """Draws the figures of one page."""

    def __init__(self) -> None:
        self._page = Page()

    def of_curve(self, curve: Curve) -> list[Picture]:
        """Accuracy over timesteps and over energy, and spikes over timesteps."""
        return [self._chart(chart) for chart in own_charts(curve)]

    def of_curves(self, curves: Mapping[str, Curve]) -> list[Picture]:
        """The same of several networks, by name."""
        return [self._chart(chart) for chart in shared_charts(curves)]

    def of_trace(self, trace: Trace) -> str:
        """Spikes and a membrane potential."""
        names = [", ".join(map(str, place)) for place in trace.positions]
        short = [str(place[0]) for place in trace.positions]
        description = describe_spikes(trace.layer, trace.spikes, names)
        values = (trace.before, trace.after, trace.traced)
        return self._page.svg(lambda: draw_spikes(trace.spikes, short, *values), description)

    def of_density(self, density: Sequence[float]) -> str:
        """Firing at each timestep as a small line, from 0."""
        told = f"over time: {percent(density[0], 0)} at first, {percent(density[-1], 0)} at last"
        return self._page.svg(lambda: _spark(density), told)

    def _chart(self, chart: Chart) -> Picture:
        svg = self._page.svg(lambda: chart_figure([chart], titled=False), chart.description)
        return Picture(chart.y.title, svg)


def _spark(density: Sequence[float]) -> Figure:
    figure = blank(*SPARK)
    top, last = max(*density, 1e-9), max(len(density) - 1, 1)
    x = [0.02 + 0.96 * time / last for time in range(len(density))]
    y = [0.05 + 0.9 * share / top for share in density]
    figure.add_artist(Line2D(x, y, color=TONES[0], linewidth=1.4))
    return figure
