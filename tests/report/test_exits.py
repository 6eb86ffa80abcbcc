"""Early exit in a sweep, and its calibration."""

import csv
import math

import pytest
import torch
from torch import nn

from spikeport.calibration import calibrate
from spikeport.convert import ConversionError, Neuron, build
from spikeport.convert.simulation.early_exit import EarlyExit
from spikeport.report import calibrate_exit, cost, sweep

TIMESTEPS = 16


@pytest.fixture
def snn():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(72, 5)).eval()
    network = build(net, torch.randn(2, 3, 8, 8), Neuron(1, 1))
    calibrate(network, batches(1), progress=False)
    return network


def batches(seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(20, 3, 8, 8, generator=generator), torch.randint(0, 5, (20,)))
        for _ in range(count)
    ]


def test_a_rule_that_always_stops_at_t_gives_the_row_of_t(snn):
    rules = [EarlyExit("gap", math.inf), EarlyExit("gap", -1.0, first=4)]
    curve = sweep(snn, batches(2), (4, TIMESTEPS), progress=False, early_exit=rules)
    for exit, row in zip(curve.exits, reversed(curve.rows), strict=True):
        assert exit["exit_times"] == {str(row["timesteps"]): 60}
        assert exit.pop("output_error") is None  # of the scores at T only
        for key, value in row.items():
            if key.startswith("output_error"):
                continue
            assert exit[key] == (value if value is None else pytest.approx(value, rel=1e-6))


@pytest.mark.parametrize("rule", ["gap", "confidence", "entropy"])
@pytest.mark.parametrize("every", [1, None])
def test_calibrated_exits_agree_as_wanted(snn, rule, every, tmp_path):
    data = batches(3)
    unlabelled = [images for images, _ in data]
    exit = calibrate_exit(snn, unlabelled, TIMESTEPS, 0.9, rule, every, progress=False)
    assert exit.every == (every or 2)
    assert exit == calibrate_exit(snn, data, TIMESTEPS, 0.9, rule, every, progress=False)
    wrong = total = 0
    for images, _ in data:
        scores, times = snn.early_exit(images, TIMESTEPS, exit)
        wrong += int((scores.argmax(1) != snn(images, TIMESTEPS).argmax(1)).sum())
        total += int(times.sum())
    assert (wrong + 1) / 61 <= 0.1
    assert total / 60 < TIMESTEPS / 2
    curve = sweep(snn, data, (TIMESTEPS,), progress=False, early_exit=exit)
    [row] = curve.exits
    assert row["timesteps"] == total / 60
    assert row["acs"] < curve.rows[0]["acs"]
    assert f"{total / 60:.2f} mean" in str(curve)
    for ending in ("csv", "png", "json"):
        curve.save(tmp_path / f"curve.{ending}")
    with open(tmp_path / "curve.csv", newline="") as file:
        assert float(list(csv.DictReader(file))[1]["timesteps"]) == row["timesteps"]


def test_a_stricter_agreement_takes_longer(snn):
    data = batches(4)
    means = []
    for agreement in (0.7, 0.9, 0.98):
        exit = calibrate_exit(snn, data, TIMESTEPS, agreement, every=1, progress=False)
        found = [snn.early_exit(images, TIMESTEPS, exit)[1] for images, _ in data]
        means.append(float(torch.cat(found).double().mean()))
    assert means == sorted(means)
    assert means[0] < means[2]


def test_cost_shows_the_exit(snn):
    exit = EarlyExit("gap", 0.2, first=2)
    found = cost(snn, batches(5, 1), TIMESTEPS, progress=False, early_exit=exit)
    assert found.rows[1]["network"].startswith("spiking, mean T=")
    assert found.rows[1]["energy_uj"] < found.rows[0]["energy_uj"]


def test_too_few_images_are_refused(snn):
    with pytest.raises(ConversionError, match="pass at least 99 or a lower agreement"):
        calibrate_exit(snn, batches(6), TIMESTEPS, 0.99, progress=False)
    with pytest.raises(ConversionError, match="share between 0 and 1"):
        calibrate_exit(snn, batches(6), TIMESTEPS, 1.0, progress=False)
