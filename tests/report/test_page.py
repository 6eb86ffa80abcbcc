"""What a page says and leaves out, without a browser."""

import re

import pytest
import torch
from torch import nn

from spikeport.calibration import calibrate
from spikeport.convert import ConversionError, Neuron, build
from spikeport.convert.simulation.input_encoding import EventFrames
from spikeport.report import sweep
from spikeport.report.page.confusion import Differences
from spikeport.report.page.data_url import picture
from spikeport.report.page.write_report import write_report

T = (1, 4, 8)


def converted(net, data, neuron=None):
    network = build(net, data[0][0], neuron or Neuron(1, 1))
    calibrate(network, data, progress=False)
    return network


def written(networks, data, tmp_path, **options):
    path = tmp_path / "report.html"
    write_report(networks, data, path, T, progress=False, **options)
    return path.read_text(encoding="utf-8")


def text_of(page):
    """Without tags; narrow spaces stay."""
    return re.sub(r"(?:<style>.*?</style>|<[^>]+>|[ \n])+", " ", page, flags=re.S)


def test_page_holds_the_numbers_of_the_sweep(small_net, small_data, tmp_path):
    network = converted(small_net, small_data)
    curve = sweep(network, small_data, T, progress=False)
    text = text_of(written(network, small_data, tmp_path, inspected=4))
    for row in curve.rows:
        assert f"{100 * row['agreement']:.1f}\u202f%" in text
        assert f"{100 * row['top1']:.1f}\u202f%" in text
    assert "3 levels per timestep" in text
    assert "Where the error comes from" in text
    assert "NeuroBench" in text
    assert "readout: mean of the output over timesteps 1..T" in text


def test_page_needs_nothing_from_outside(small_net, small_data, tmp_path):
    page = written(converted(small_net, small_data), small_data, tmp_path, inspected=0)
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert not re.findall(r"url\((?!#)", page)


def test_names_cannot_break_the_page(small_net, small_data, tmp_path):
    network = converted(small_net, small_data)
    network.info["source"] = '<b onclick="x">\'&</b>'
    names = ["<script>alert(1)</script>"] * 5
    page = written({"<i>a": network}, small_data, tmp_path, class_names=names, inspected=0)
    assert "<script" not in page
    assert "<b onclick" not in page
    assert "<i>a" not in page


def test_without_labels_accuracy_is_left_out(small_net, small_data, tmp_path):
    images = [images for images, _ in small_data]
    text = text_of(written(converted(small_net, small_data), images, tmp_path, inspected=0))
    assert "no labels: accuracy is left out" in text
    assert "Top-1" not in text
    assert "not inspected" in text


class Depths(nn.Module):
    """Returns a dict of maps."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.near, self.far = nn.Conv2d(6, 1, 1), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        x = self.body(x)
        return {"near": self.near(x), "far": self.far(x)}


def test_other_outputs_have_an_error_instead_of_an_accuracy(small_data, tmp_path):
    torch.manual_seed(0)
    network = converted(Depths().eval(), small_data)
    text = text_of(written(network, small_data, tmp_path, inspected=2))
    assert "not used as class scores" in text
    assert "zeros skipped" in text
    assert "NeuroBench" in text
    assert "relative output error" in text.lower()
    assert "Agreement" not in text
    assert "Where the error comes from" in text


def test_several_networks_share_charts_and_have_sections(small_net, small_data, tmp_path):
    networks = {
        "small one": converted(small_net, small_data, Neuron(1, 0)),
        "small two": converted(small_net, small_data, Neuron(4, 4)),
    }
    page = written(networks, small_data, tmp_path, inspected=0)
    text = text_of(page)
    assert "2 spiking networks compared" in text
    assert len(re.findall(r'<section class="net"', page)) == 2
    levels = [int(found) for found in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    first = re.search(r'aria-label="(Top-1 accuracy over[^"]*)"', page)
    assert first
    assert "one: " in first[1]
    assert "two: " in first[1]


def test_page_is_the_same_for_the_same_numbers(small_net, small_data, tmp_path):
    network = converted(small_net, small_data)
    pages = {written(network, small_data, tmp_path, inspected=2) for _ in range(2)}
    assert len(pages) == 1


def test_differences_are_counted_and_the_surest_kept(small_net, small_data):
    network = converted(small_net, small_data)
    found = Differences(1)
    sweep(network, small_data, (1,), progress=False, on_batch=found.add)
    apart = []
    for images, labels in small_data:
        with torch.no_grad():
            source, spiking = small_net(images).softmax(1), network(images, 1).argmax(1)
        for row in range(len(images)):
            if spiking[row] != source[row].argmax():
                apart.append((float(source[row].max()), int(labels[row])))
    assert apart  # or the test shows nothing
    assert sum(count for _, _, count in found.pairs()) == len(apart)
    best = sorted(apart, reverse=True)[: len(found.examples)]
    assert [one.source.share for one in found.examples] == pytest.approx([s for s, _ in best], 1e-4)
    assert [one.label for one in found.examples] == [label for _, label in best]


@pytest.mark.parametrize(
    ("shape", "start"),
    [((3, 8, 8), "data:image/png"), ((1, 300, 200), "data:image/jpeg"), ((7, 8, 8), None)],
)
def test_pictures_of_what_is_an_image(shape, start):
    found = picture(torch.randn(1, *shape))
    assert (found is None) == (start is None)
    assert start is None or found.startswith(start)


def test_unusable_requests_are_refused_before_anything_is_measured(small_net, small_data, tmp_path):
    network = converted(small_net, small_data)
    with pytest.raises(ConversionError, match="ending in .html"):
        write_report(network, small_data, tmp_path / "page.pdf")
    with pytest.raises(ConversionError, match="folder that exists"):
        write_report(network, small_data, tmp_path / "nowhere" / "page.html")
    with pytest.raises(ConversionError, match="networks is empty"):
        write_report({}, small_data, tmp_path / "page.html")
    with pytest.raises(ConversionError, match="data is given for"):
        write_report({"a": network}, {"b": small_data}, tmp_path / "page.html")
    network.encoding = EventFrames()
    with pytest.raises(ConversionError, match="event frames"):
        write_report(network, small_data, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_the_old_page(small_net, small_data, tmp_path):
    old = tmp_path / "report.html"
    old.write_text("old")
    with pytest.raises(ConversionError, match="no batch"):
        write_report(converted(small_net, small_data), [], old)
    assert old.read_text() == "old"
