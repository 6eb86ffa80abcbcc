"""A sweep against running each T by itself and counting by hand."""

import csv
import json

import pytest
import torch
from torch import nn

from spikeport.calibration import calibrate
from spikeport.convert import ConversionError, Neuron, build
from spikeport.convert.simulation.early_exit import EarlyExit
from spikeport.report import Curve, sweep

IMAGES = (3, 8, 8)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU6(),
        nn.Conv2d(8, 4, 1),
        nn.Conv2d(4, 8, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(12, *IMAGES, generator=generator)
    labels = torch.randint(0, 5, (12,), generator=generator)
    return [(images[i : i + 5], labels[i : i + 5]) for i in range(0, 12, 5)]


@pytest.fixture(params=[Neuron(1, 0), Neuron(1, 1), Neuron(3, 3)], ids=str)
def snn(request, net, data):
    network = build(net, data[0][0], request.param)
    calibrate(network, data, progress=False)
    return network


def test_rows_equal_separate_runs(snn, net, data):
    curve = sweep(snn, data, (1, 4, 7), reference=net, progress=False)
    assert [row["timesteps"] for row in curve.rows] == [1, 4, 7]
    for row in curve.rows:
        agree = right = 0
        for images, labels in data:
            with torch.no_grad():
                best = snn(images, row["timesteps"]).argmax(1)
                agree += int((best == net(images).argmax(1)).sum())
            right += int((best == labels).sum())
        assert row["agreement"] == agree / 12
        assert row["top1"] == right / 12


@torch.no_grad()
def test_spikes_and_accumulates_equal_a_count_by_hand(snn, data):
    """Spikes times weights met, layer by layer, from what the layers really receive."""
    timesteps, spikes, accumulates = 6, 0.0, 0.0
    feeds = {"1": None, "4": 4, "5#out": 8, "7": None}
    for images, _ in data:
        emitted = {}
        for _ in snn.chunks(
            images,
            timesteps,
            chunk=timesteps,
            observe=lambda name, out, first, e=emitted: e.update({name: out}),
        ):
            pass
        for name, out in emitted.items():
            pooled = name not in snn.neurons
            theta = snn.neurons["1" if pooled else name].threshold
            count = (out / theta.view(1, 1, -1, 1, 1)).abs().round()
            spikes += 0 if pooled else float(count.sum())
            if pooled:
                ones = torch.ones(8, 8, 3, 3)
                accumulates += float(
                    torch.nn.functional.conv2d(count.flatten(0, 1), ones, padding=1).sum()
                )
            elif name == "7":
                accumulates += float(count.sum()) * 5
            elif feeds[name]:
                accumulates += float(count.sum()) * feeds[name]
    row = sweep(snn, data, (timesteps,), progress=False).rows[0]
    neurons = 8 * 64 + 8 * 16 + 4 * 16 + 8 * 16
    assert row["spikes_per_neuron"] == pytest.approx(spikes / 12 / neurons)
    assert row["acs"] == pytest.approx(accumulates / 12)
    assert row["macs"] == 8 * 3 * sum(min(i, 1) + 1 + min(7 - i, 1) for i in range(8)) ** 2
    assert row["energy_uj"] == pytest.approx((0.9 * row["acs"] + 4.6 * row["macs"]) * 1e-6)


def test_without_labels_there_is_agreement_and_no_accuracy(snn, data):
    curve = sweep(snn, [images for images, _ in data], (2,), progress=False)
    assert curve.rows[0]["top1"] is None
    assert 0 <= curve.rows[0]["agreement"] <= 1
    unknown = [(images, torch.full_like(labels, -1)) for images, labels in data]
    assert sweep(snn, unknown, (2,), progress=False).rows == curve.rows


def test_agreement_reaches_the_source_with_enough_timesteps(net, data):
    network = build(net, data[0][0], Neuron(8, 8))
    calibrate(network, data, "max", progress=False)
    assert sweep(network, data, (256,), reference=net, progress=False).rows[0]["agreement"] == 1.0


def test_a_reference_that_writes_into_its_input(net, data):
    class Normalizing(nn.Module):
        def forward(self, x):
            return net(x.sub_(0.5).mul_(2))

    reference = Normalizing().eval()
    network = build(reference, data[0][0], Neuron(3, 3))
    calibrate(network, data, progress=False)
    before = [images.clone() for images, _ in data]
    curve = sweep(network, data, (4,), reference=reference, progress=False)
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, data, strict=True))
    assert curve.rows == sweep(network, data, (4,), progress=False).rows


def test_files_hold_the_rows(snn, data, tmp_path):
    curve = sweep(snn, data, (1, 2), progress=False)
    for ending in ("csv", "json", "png"):
        curve.save(tmp_path / f"curve.{ending}")
    with open(tmp_path / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["acs"]) for row in rows] == [row["acs"] for row in curve.rows]
    again = Curve(**json.loads((tmp_path / "curve.json").read_text()))
    assert again.rows == curve.rows
    assert str(again) == str(curve)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConversionError, match="expected one of"):
        curve.save(tmp_path / "curve.xlsx")


def test_the_table_says_what_was_measured(snn, data):
    text = str(sweep(snn, data, (1, 2), progress=False))
    assert "levels per timestep" in text
    assert "estimate" in text
    assert "0.9 pJ per AC, 4.6 pJ per MAC" in text
    assert "readout: mean of the output over timesteps 1..T" in text
    assert "Calibrated for" not in text


def test_a_recipe_for_one_t_is_named_in_the_table(net, data):
    network = build(net, data[0][0], Neuron(1, 1))
    calibrate(network, data, "mse", timesteps=8, progress=False)
    assert "Calibrated for T=8" in str(sweep(network, data, (1, 2), progress=False))
    calibrate(network, data, "max", timesteps=8, progress=False)
    assert "Calibrated for" not in str(sweep(network, data, (1,), progress=False))


@pytest.mark.parametrize("timesteps", [(0,), (-1, 4), (2.0,), (True,), ()])
def test_unusable_timesteps_are_refused(snn, data, timesteps):
    with pytest.raises(ConversionError, match="timesteps"):
        sweep(snn, data, timesteps, progress=False)


def test_empty_data_and_training_references_are_refused(snn, net, data):
    with pytest.raises(ConversionError, match="no batch"):
        sweep(snn, [], (1,))
    with pytest.raises(ConversionError, match="training mode"):
        sweep(snn, data, (1,), reference=net.train())


class TwoHeads(nn.Module):
    """Returns no class scores but a dict."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.heads = nn.ModuleDict({"depth": nn.Conv2d(4, 1, 1), "size": nn.Conv2d(4, 2, 1)})

    def forward(self, x):
        x = self.body(x)
        return {"depth": self.heads["depth"](x), "size": self.heads["size"](x).mean((2, 3))}


def test_outputs_are_judged_each_by_itself(data, tmp_path):
    torch.manual_seed(1)
    net = TwoHeads().eval()
    network = build(net, data[0][0], Neuron(1, 1))
    calibrate(network, data, progress=False)
    seen = []
    curve = sweep(network, data, (2, 16), reference=net, progress=False, on_batch=seen.append)
    difference, square = {"depth": 0.0, "size": 0.0}, {"depth": 0.0, "size": 0.0}
    for (images, _), answers in zip(data, seen, strict=True):
        with torch.no_grad():
            source, spiking = net(images), network(images, 16)
        assert torch.equal(answers.images, images)
        for head, value in source.items():
            assert torch.allclose(answers.spiking[16][head], spiking[head], atol=1e-6)
            difference[head] += float((spiking[head] - value).square().sum())
            square[head] += float(value.square().sum())
    expected = {head: (difference[head] / square[head]) ** 0.5 for head in square}
    assert curve.rows[1]["output_errors"] == pytest.approx(expected, rel=1e-3)
    for row in curve.rows:
        assert row["output_error"] == max(row["output_errors"].values())
    assert curve.rows[1]["output_error"] < curve.rows[0]["output_error"]
    assert f"the worst of 2 outputs; at T=16: {max(expected, key=expected.get)} " in str(curve)
    assert {row[key] for row in curve.rows for key in ("top1", "agreement")} == {None}
    curve.save(tmp_path / "curve.png")


class TinyBesideLarge(nn.Module):
    """Boxes in pixels, which spikes carry well, and scores a thousand times smaller."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return {"boxes": 1000 * x, "heads": (self.relu(x), [x.sum((2, 3))])}


def test_a_small_output_is_not_hidden_by_a_large_one(data):
    network = build(TinyBesideLarge().eval(), data[0][0], Neuron(1, 1))
    calibrate(network, data, progress=False)
    [row] = sweep(network, data, (1,), progress=False).rows
    assert set(row["output_errors"]) == {"boxes", "heads.0", "heads.1.0"}
    assert row["output_errors"]["boxes"] < 1e-5
    assert row["output_error"] == row["output_errors"]["heads.0"] > 0.1


def use_of_output(net, calibration, evaluation, **options):
    """Whether a sweep takes the output of a network for class scores."""
    network = build(net, torch.randn(2, *IMAGES), Neuron(1, 1))
    calibrate(network, calibration, progress=False, **options)
    [row] = sweep(network, evaluation, (2,), progress=False).rows
    assert row["output_error"] == row["output_errors"]["output"]
    return (row["agreement"] is not None, row["top1"] is not None)


def test_an_output_is_class_scores_where_it_is_used_as_such(net, data):
    images = [x for x, _ in data]
    targets = [(x, torch.randn(len(x), 5)) for x in images]
    counts = [(x, y + 5) for x, y in data]  # no class of five
    assert use_of_output(net, images, images) == (False, False)
    assert use_of_output(net, targets, images) == (False, False)
    assert use_of_output(net, counts, images) == (False, False)
    assert use_of_output(net, counts, counts, task="values") == (False, False)
    assert use_of_output(net, images, data) == (True, True)
    assert use_of_output(net, data, images) == (True, False)
    assert use_of_output(net, images, images, task="classification") == (True, False)
    assert use_of_output(net, data, data, task="values") == (False, False)
    with pytest.raises(ConversionError, match="task is 'detection'"):
        use_of_output(net, data, data, task="detection")


def test_an_early_exit_uses_scores(net, data):
    images = [x for x, _ in data]
    network = build(net, images[0], Neuron(1, 1))
    calibrate(network, images, progress=False)
    curve = sweep(network, images, (4,), progress=False, early_exit=EarlyExit("gap", 0.1))
    assert curve.rows[0]["agreement"] is not None
