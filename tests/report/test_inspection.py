"""What an inspection prints and saves, its parts of a neuron's error, and what is analog."""

import csv
import json

import pytest
import torch
from torch import nn

from spikeport.calibration import calibrate
from spikeport.convert import KINDS, ConversionError, Neuron, NeuronLayer, build
from spikeport.report import Inspection, inspect
from spikeport.report.inspecting.layer_errors import error_parts


@pytest.fixture
def images():
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def found(images):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    snn = build(net, images, Neuron(1, 1))
    calibrate(snn, [images], progress=False)
    return inspect(snn, [images], 4, progress=False)


def test_files_hold_the_rows(found, tmp_path):
    for ending in ("csv", "json", "png"):
        found.save(tmp_path / f"found.{ending}")
    assert len(list(tmp_path.iterdir())) == 3
    again = Inspection(**json.loads((tmp_path / "found.json").read_text()))
    assert again.as_dict() == found.as_dict()
    assert str(again) == str(found)
    with open(tmp_path / "found.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == [row["layer"] for row in found.rows]
    assert [float(row["gain"]) for row in rows] == [row["gain"] for row in found.rows]
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConversionError, match="expected one of"):
        found.save(tmp_path / "found.xlsx")


def test_a_file_that_is_there_survives_a_failure(found, tmp_path):
    found.save(tmp_path / "found.json")
    before = (tmp_path / "found.json").read_bytes()
    found.info["unwritable"] = object()
    with pytest.raises(TypeError):
        found.save(tmp_path / "found.json")
    assert (tmp_path / "found.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_the_table_says_what_was_measured(found):
    text = str(found)
    assert "T=4" in text
    assert "3 levels per timestep" in text
    assert "readout: mean of the output over timesteps 1..T" in text
    assert f"explain {found.explained:.0%}" in text
    assert "No reference was given" in text


@pytest.mark.parametrize("kind", ["if", "burst", "signed", "multi-level", "differential"])
@pytest.mark.parametrize(("low", "high"), [(0.0, torch.inf), (0.0, 6.0), (-torch.inf, torch.inf)])
def test_a_constant_current_has_no_unevenness(kind, low, high):
    """The ideal quantiser is what the neuron does with it: the rest is clipping and rounding."""
    neuron = NeuronLayer(KINDS[kind], 1, low, high)
    neuron.threshold.data.fill_(2.0)
    neuron.v0.data.fill_(1.0)
    timesteps, reach = 24, 2.0 * (KINDS[kind].max_up + 1)
    current = torch.linspace(-reach, reach, 301)[:, None]
    emitted = neuron(current.expand(timesteps, -1, -1))[0].mean(0)
    parts = error_parts(neuron, current, emitted, timesteps)
    assert torch.allclose(sum(parts), emitted - neuron.analog(current), atol=1e-5)
    assert float(parts.unevenness[current.abs() <= 2.0].abs().max()) < 1e-5
    if kind != "differential":  # whose capacity grows with time
        assert float(parts.unevenness.abs().max()) < 1e-5
        assert float(parts.quantization.abs().max()) <= 2.0 / timesteps + 1e-4
        beyond = (current.clamp(low, high).abs() > 2.0 * neuron.max_up).flatten()
        assert bool((parts.clipping.flatten()[beyond] != 0).all())
        assert not bool(parts.clipping.flatten()[~beyond].any())


def test_what_is_analog_and_why(images):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1),
        nn.Conv2d(2, 4, 1),
        nn.Sigmoid(),
        nn.Flatten(),
    ).eval()
    snn = build(net, images, Neuron(1, 1), analog_bottlenecks=True)
    calibrate(snn, [images], progress=False)
    found = inspect(snn, [images], 2, progress=False)
    first, second, gate = found.analog
    assert (first["layer"], first["macs"], first["every_timestep"]) == ("0", 36 * 12, False)
    assert (second["layer"], second["macs"], second["every_timestep"]) == ("3", 36 * 8, True)
    assert second["reason"] == "reads '2', whose values are not spikes"
    assert (gate["layer"], gate["macs"]) == ("4", 0)
    assert "running mean" in gate["reason"]
    assert found.spike_driven == 0.5
    assert "50.0% of the operations in time are accumulates" in str(found)
