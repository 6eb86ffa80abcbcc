"""Faults are put into small networks and have to be found; the error budget has to add up."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.calibration import calibrate
from spikeport.convert import KINDS, ConversionError, Neuron, build
from spikeport.convert.saving.container import load, save
from spikeport.report.inspecting.inspect import inspect
from spikeport.report.inspecting.inspection import PARTS


class Small(nn.Module):
    """Residual, max-pool, ReLU6, a linear bottleneck."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv1, self.act1 = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU6()
        self.conv2, self.act2 = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        self.narrow, self.wide = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.pool(self.act(self.stem(x)))
        x = self.act2(self.conv2(self.act1(self.conv1(x))) + x)
        return self.head(F.relu(self.wide(self.narrow(x))).mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Small().eval()
    for parameter in net.parameters():
        parameter.data *= 1.7  # a signal that does not fade
    return net


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 3, 12, 12, generator=generator)]


def convert(net, data, neuron="multi-level", recipe="max", timesteps=None):
    kind = KINDS[neuron] if isinstance(neuron, str) else neuron
    snn = build(net, data[0], kind)
    calibrate(snn, data, recipe, timesteps, progress=False)
    return snn


def look(snn, data, timesteps=16, reference=None):
    return inspect(snn, data, timesteps, reference, progress=False)


def test_the_network_is_left_as_it_was(net, data):
    snn = convert(net, data)
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    look(snn, data, reference=net)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    assert not snn.training


def test_all_may_happen_in_inference_mode(net, data, tmp_path):
    wanted = look(convert(net, data), data).info["output_error"]
    with torch.inference_mode():
        images = [batch.clone() for batch in data]
        save(convert(net, images), tmp_path / "net.snn")
        loaded = load(tmp_path / "net.snn")
        assert look(loaded, images).info["output_error"] == pytest.approx(wanted)
    assert look(loaded, data).info["output_error"] == pytest.approx(wanted)
    assert not any(parameter.is_inference() for parameter in loaded.parameters())


@pytest.mark.parametrize("factor", [0.1, 10.0])
@pytest.mark.parametrize("layer", ["act", "act1", "act2", "narrow#out", "relu"])
@pytest.mark.parametrize("neuron", ["signed", "multi-level"])
def test_a_wrong_threshold_is_found(net, data, layer, factor, neuron):
    snn = convert(net, data, neuron)
    snn.neurons[layer].threshold.data *= factor
    worst = look(snn, data, 32).rows[0]
    assert worst["layer"] == layer
    assert worst["kind"] == ("clipping" if factor < 1 else "quantization")
    assert worst["suggestion"]
    assert (worst["saturated"] != []) == (factor < 1)


@pytest.mark.parametrize("layer", ["stem", "conv1", "wide"])
def test_a_zeroed_bias_is_found_with_a_reference(net, data, layer):
    snn = convert(net, data)
    snn.get_submodule(layer).bias.data.zero_()
    worst = look(snn, data, reference=net).rows[0]
    assert (worst["layer"], worst["kind"]) == (layer, "weights")
    assert worst["finding"] == "Its bias is zero, the reference's is not."
    blind = look(snn, data)
    assert "No reference was given" in str(blind)
    assert all(row["structure"] == 0 for row in blind.rows)


def test_a_silent_channel_is_found(net, data):
    snn = convert(net, data)
    currents = {}
    snn.analog(data[0], lambda name, current: currents.update({name: current}))
    busy = int(currents["act2"].relu().mean((0, 2, 3)).argmax())
    snn.neurons["act2"].threshold.data[busy] *= 1000
    worst = look(snn, data).rows[0]
    assert (worst["layer"], worst["kind"], worst["silent"]) == ("act2", "silent", [busy])


def test_a_channel_without_weights_is_found_with_a_reference(net, data):
    snn = convert(net, data)
    snn.get_submodule("conv1").weight.data[3].zero_()
    snn.get_submodule("conv1").bias.data[3].zero_()
    found = look(snn, data, reference=net).rows
    assert (found[0]["layer"], found[0]["kind"]) == ("conv1", "weights")
    assert "channel(s) [3] is zero" in found[0]["finding"]
    assert next(row for row in found if row["layer"] == "act1")["unused"] == []


@pytest.mark.parametrize("as_module", [True, False])
def test_a_max_pool_treated_as_average_is_found(net, data, as_module):
    wrong, right = copy.deepcopy(net), net
    if as_module:
        wrong.pool = nn.AvgPool2d(2).eval()
    else:
        right = Pooled(net, F.max_pool2d).eval()
        wrong = Pooled(net, F.avg_pool2d).eval()
    snn = convert(wrong, data)
    worst = look(snn, data, reference=right).rows[0]
    assert worst["kind"] == "operation"
    assert worst["layer"].endswith("pool" if as_module else "avg_pool2d")
    assert "reference computes" in worst["finding"]


class Pooled(nn.Module):
    """A network with its pool written as a function."""

    def __init__(self, net, pool):
        super().__init__()
        self.stem, self.conv, self.head, self.pool = net.stem, net.conv1, net.head, pool

    def forward(self, x):
        x = self.pool(F.relu(self.stem(x)), 2)
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("neuron", KINDS)
@pytest.mark.parametrize(("recipe", "timesteps"), [("fast", None), ("default", 8)])
def test_the_parts_add_up(net, data, neuron, recipe, timesteps):
    """Whatever the neuron, the calibration and the readout's window."""
    snn = convert(net, data, neuron, recipe, timesteps)
    found = look(snn, data, 8)
    assert found.explained == pytest.approx(1, abs=0.05)
    total = sum(row[part] for row in found.rows for part in PARTS)
    assert total == pytest.approx(found.explained, rel=1e-4)


def test_the_parts_add_up_with_a_reference_and_a_late_readout(net, data):
    snn = convert(net, data, "if")
    snn.readout_delay = 0.5
    snn.get_submodule("conv2").weight.data *= 0.8
    found = look(snn, data, 8, net)
    assert found.explained == pytest.approx(1, abs=0.05)
    assert {"pool", "conv2", "act"} <= {row["layer"] for row in found.rows}


@torch.no_grad()
def test_one_layer_makes_all_of_the_error_of_its_network(data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5)).eval()
    snn = convert(net, data)
    (row,) = look(snn, data, 4).rows
    assert row["gain"] == pytest.approx(1, abs=1e-3)
    assert sum(row[part] for part in PARTS) == pytest.approx(1, abs=1e-3)
    assert row["inherited"] == pytest.approx(0, abs=1e-6)
    error = (snn(data[0], 4) - net(data[0])).norm() / net(data[0]).norm()
    assert look(snn, data, 4).info["output_error"] == pytest.approx(float(error), rel=1e-4)


@torch.no_grad()
def test_spikes_are_counted_as_they_fall(net, data):
    snn = convert(net, data, Neuron(3, 3))
    emitted = {}
    for _ in snn.chunks(data[0], 6, 6, lambda name, out, first: emitted.update({name: out})):
        pass
    for row in look(snn, data, 6).rows:
        out = emitted[row["layer"]]
        density = (out != 0).double().flatten(1).mean(1)
        assert row["density"] == pytest.approx(density.tolist())
        assert row["firing"] == pytest.approx(float(density.mean()))
        counts = row["rate_histogram"]["counts"]
        assert sum(counts) == out[0].numel()
        rates = out.abs().mean(0) / snn.neurons[row["layer"]].threshold.view(1, -1, 1, 1)
        assert counts[0] == int((rates < row["rate_histogram"]["edges"][1]).sum())


def test_neither_batches_nor_labels_matter(net, data):
    snn = convert(net, data)
    whole = look(snn, data)
    parts = look(snn, [(data[0][:2], torch.zeros(2)), (data[0][2:], torch.zeros(4))])
    for row in whole.rows:
        other = next(one for one in parts.rows if one["layer"] == row["layer"])
        assert other["gain"] == pytest.approx(row["gain"], abs=1e-3)
        assert other["density"] == pytest.approx(row["density"])
        assert [other[part] for part in PARTS] == pytest.approx(
            [row[part] for part in PARTS], abs=1e-3
        )


def test_what_cannot_be_inspected_is_refused(net, data):
    snn = convert(net, data)
    for timesteps in (0, -1, 2.0):
        with pytest.raises(ConversionError, match="timesteps"):
            look(snn, data, timesteps)
    with pytest.raises(ConversionError, match="no batch"):
        look(snn, [])
    with pytest.raises(ConversionError, match="training mode"):
        look(snn, data, reference=copy.deepcopy(net).train())
    with pytest.raises(ConversionError, match="built in another way"):
        look(snn, data, reference=Pooled(net, F.max_pool2d).eval())
    with pytest.raises(ConversionError, match="no positive, finite threshold"):
        look(build(net, data[0], Neuron(1, 1)), data)


class Levels(nn.Module):
    """0, 1/6, … 1."""

    def forward(self, x):
        return torch.floor(x.clamp(0, 1) * 6 + 0.5) / 6


def test_a_quantized_activation_is_told_its_timesteps():
    torch.manual_seed(0)
    layers = [nn.Linear(5, 8), Levels(), nn.Linear(8, 8), Levels(), nn.Linear(8, 3)]
    net, x = nn.Sequential(*layers).eval(), torch.randn(8, 5)
    snn = build(net, x, KINDS["signed"])
    calibrate(snn, [x], progress=False)
    rows = inspect(snn, [x], 2, progress=False).rows
    told = " ".join(row["suggestion"] for row in rows)
    assert "levels 0 to 6: exact at T=1 with neuron=sp.Neuron(6, 1)" in told
    assert "at T=6 where its currents are even" in told
