"""Figures, whatever is drawn: text lies inside and apart, files and pages can be trusted."""

import io
import re
from itertools import combinations

import matplotlib
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from spikeport.report.drawing.curves import draw_curves
from spikeport.report.drawing.error_bars import draw_error_bars
from spikeport.report.drawing.output import Page, write_picture
from spikeport.report.drawing.spikes import draw_spikes
from spikeport.report.drawing.style import PALETTE, styled, text_width, wrapped
from spikeport.report.inspecting.inspection import PARTS
from spikeport.report.sweeping.curve import Curve

names = st.text(st.characters(codec="latin-1", categories=("L", "N", "P", "Sc")), max_size=40)
shares = st.floats(0, 1)
DRAWN = (Phase.explicit, Phase.reuse, Phase.generate)  # to shrink an example takes minutes


@st.composite
def curves(draw, least=1):
    """Curves of one to six networks; of a classifier with or without labels, or of another."""
    kind = draw(st.sampled_from(["labelled", "unlabelled", "regression"]))
    times = sorted(draw(st.sets(st.integers(1, 4096), min_size=1, max_size=10)))
    joules = st.floats(1e-7, 1e5)

    def row(time):
        return {
            "timesteps": time,
            "top1": draw(shares) if kind == "labelled" else None,
            "agreement": None if kind == "regression" else draw(shares),
            "output_error": draw(st.floats(0, 3)),
            "spikes_per_neuron": draw(st.floats(0, 500)),
            "energy_uj": draw(joules),
        }

    found = {}
    for name in draw(st.lists(names, min_size=least, max_size=6, unique=True)):
        info = {
            "source": draw(names),
            "neuron_label": draw(names),
            "levels_per_timestep": [9],
            "readout": "mean of the output over timesteps 1..T",
            "source_energy_uj": draw(joules),
            "source_top1": draw(shares) if kind == "labelled" else None,
        }
        exits = [row(2.5)] if draw(st.booleans()) else []
        found[name] = Curve([row(time) for time in times], {**info, "early_exits": exits})
    return found


@st.composite
def traces(draw):
    """Spikes [n, T] and the potentials of one neuron."""
    count, T, most = draw(st.integers(1, 8)), draw(st.integers(1, 64)), draw(st.integers(1, 8))
    down = draw(st.booleans())
    spikes = torch.randint(-most * down, most + 1, (count, T)).float()
    channels = [str(draw(st.integers(0, 4095))) for _ in range(count)]
    return spikes, channels, torch.randn(T) * 3, torch.randn(T), draw(st.integers(0, count - 1))


@st.composite
def error_rows(draw):
    """Rows of an inspection."""
    part = st.floats(-2, 2)
    count = draw(st.integers(1, 26))
    layer = st.text("abcdefgh._0123", min_size=1, max_size=80)
    return [
        {"layer": draw(layer), "gain": draw(part), **{name: draw(part) for name in PARTS}}
        for _ in range(count)
    ]


def check_text(figure):
    """All text lies inside the figure, and none over another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = []
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible()):
        if text.get_text().strip():
            boxes.append((text.get_text(), text.get_window_extent(canvas.get_renderer())))
    assert boxes
    width, height = canvas.get_width_height()
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, (text, box, (width, height))
    for (a, one), (b, other) in combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across < 1 or down < 3, (a, b)


@settings(max_examples=20, deadline=None, phases=DRAWN)
@given(curves())
def test_text_of_curves_lies_inside_and_apart(found):
    with styled():
        check_text(draw_curves(found))


@settings(max_examples=12, deadline=None, phases=DRAWN)
@given(traces())
def test_text_of_spikes_lies_inside_and_apart(trace):
    with styled():
        check_text(draw_spikes(*trace))


@settings(max_examples=12, deadline=None, phases=DRAWN)
@given(error_rows(), names)
def test_text_of_error_bars_lies_inside_and_apart(rows, caption):
    with styled():
        check_text(draw_error_bars(rows, PARTS, f"{caption} " * 9))


def test_larger_events_have_longer_marks_and_the_smallest_is_seen():
    spikes = torch.tensor([[1.0, 2, 8, -1, -8]])
    with styled():
        figure = draw_spikes(spikes, ["0"], torch.zeros(5), torch.zeros(5), 0)
        FigureCanvasAgg(figure).draw()
    upper = figure.axes[0]
    up, down = (patch.get_path().vertices.reshape(-1, 2, 2) for patch in upper.patches)
    points = upper.bbox.height / figure.dpi * 72
    lengths = [abs(mark[1, 1] - mark[0, 1]) * points for mark in (*up, *down)]
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[0] == pytest.approx(lengths[3])
    assert lengths[2] == pytest.approx(lengths[4])
    assert min(lengths) > 3
    assert all(mark[1, 1] < mark[0, 1] for mark in down)


def small_curve():
    row = {"top1": None, "agreement": 0.5, "output_error": 0.1, "spikes_per_neuron": 1.0}
    rows = [{"timesteps": t, "energy_uj": 2e-5 * t, **row} for t in (1, 2, 4)]
    info = {
        "source": "<a> & $b$ 名",
        "neuron_label": "multi-level (−4…4)",
        "levels_per_timestep": [3],
        "readout": "mean",
    }
    return Curve(rows, {**info, "source_energy_uj": 1e-4})


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_a_file_does_not_depend_on_the_hour_or_on_settings(form):
    def written():
        file = io.BytesIO()
        write_picture(lambda: draw_curves({"": small_curve()}), file, form)
        return file.getvalue()

    first = written()
    with matplotlib.rc_context({"font.family": "serif", "font.size": 40, "axes.facecolor": "red"}):
        assert written() == first
    assert matplotlib.rcParams["svg.fonttype"] == matplotlib.rcParamsDefault["svg.fonttype"]


def test_figures_of_a_page_have_its_colours_and_ids_of_their_own():
    page = Page()
    curve = small_curve()
    found = [page.svg(lambda: draw_curves({"": curve}), 'a <"> b') for _ in range(2)]
    text = "".join(found)
    assert not re.findall(r"#[0-9a-f]{6}\b", text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert ids
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', text)) <= set(ids)
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= set(PALETTE)
    assert 'aria-label="a &lt;&quot;&gt; b"' in found[0]
    assert "<text" not in text
    assert len(found[1]) < len(found[0])  # letters are there once


def test_a_page_shows_the_same_as_a_file():
    """Outlines lose no more than a hundredth of a point."""
    file = io.BytesIO()
    write_picture(lambda: draw_curves({"": small_curve()}), file, "svg")
    page = Page().svg(lambda: draw_curves({"": small_curve()}), "")

    def numbers(svg):
        paths = " ".join(re.findall(r' d="([^"]*)"', svg))
        return [float(n) for n in re.findall(r"-?\d*\.?\d+", paths)]

    exact = numbers(file.getvalue().decode())
    assert exact
    assert numbers(page) == pytest.approx(exact, abs=0.006)


@pytest.mark.parametrize(
    "name", [name for name in PALETTE if name not in ("paper", "panel", "rule")]
)
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(name, scheme):
    """WCAG 2: a contrast of 4.5 on the paper."""

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted(luminance(PALETTE[one][scheme]) for one in (name, "paper"))
    assert (high + 0.05) / (low + 0.05) >= 4.5


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=12)), st.floats(20, 300))
def test_wrapped_text_keeps_its_words(words, width):
    with styled():
        lines = wrapped(" ".join(words), width)
        assert " ".join(lines).split() == words
        assert all(text_width(line) <= width or " " not in line for line in lines)
