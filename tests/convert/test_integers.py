"""Integer networks: what becomes whole, what stays, what is refused. Their spikes on every backend
are compared by the verb ``integers`` of the laws."""

import copy
import json
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import spikeport as sp
from spikeport.convert import ConversionError, Neuron
from spikeport.convert.integers.thresholds import unit_of
from spikeport.convert.integers.weights import WeightCode, finest_unit, with_feedback
from spikeport.convert.neurons.model import State
from spikeport.report import saturation


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5),
    ).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def converted(images):
    return sp.to_snn(small(), [images], neuron="signed", progress=False)


def whole(values: torch.Tensor) -> bool:
    return torch.equal(values, values.round())


def test_all_numbers_are_whole_and_the_answers_stay(converted, images):
    found = sp.quantize(converted)
    for neuron in found.neurons.values():
        assert whole(neuron.threshold)
        assert whole(neuron.v0)
        assert whole(neuron.correction)
        assert torch.equal(neuron.value, torch.ones_like(neuron.threshold))
    for layer in (found.get_submodule("3"), found.get_submodule("5"), found.get_submodule("8")):
        assert whole(layer.weight)
        assert whole(layer.bias)
        assert layer.weight.abs().max() <= 127
    assert torch.allclose(found(images, 64), converted(images, 64), atol=0.02)
    assert found.info["integer"]["analog"] == []


def test_the_network_is_not_changed(converted, images):
    before = copy.deepcopy(converted.state_dict())
    sp.quantize(converted, 4, rounding="calibrated", data=[images])
    assert all(torch.equal(value, before[name]) for name, value in converted.state_dict().items())


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_weights_have_as_many_values_as_bits(converted, bits):
    found = sp.quantize(converted, bits)
    for name in ("3", "5", "8"):
        weight = found.get_submodule(name).weight
        assert len(weight.unique()) <= 2**bits - 1
        assert float(weight.unique().diff().min()) >= 2 ** (8 - bits)


def test_single_layers_have_bits_of_their_own(converted):
    found = sp.quantize(converted, 8, layer_bits={"5": 3})
    assert len(found.get_submodule("5").weight.unique()) <= 7
    assert len(found.get_submodule("8").weight.unique()) > 7


def test_more_bits_are_nearer(converted, images):
    expected = converted.analog(images)
    errors = [
        float((sp.quantize(converted, bits).analog(images) - expected).abs().mean())
        for bits in (3, 5, 8)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_error_feedback_keeps_the_output_of_correlated_inputs():
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(12, 12, generator=generator).double()
    x = torch.randn(500, 12, generator=generator).double() @ mixed
    weight = torch.randn(8, 12, generator=generator).double()
    code = WeightCode(3, torch.full((8,), 5.0).double())
    unit = finest_unit(weight, 3, clip=True)
    nearest = code.nearest(weight, unit) * unit[:, None]
    by_group = WeightCode(3, code.shift[None])
    moments = (x.T @ x / len(x))[None]
    better = with_feedback(weight[None], unit[None], by_group, moments)[0] * unit[:, None]
    errors = [float((x @ (w - weight).T).square().mean()) for w in (nearest, better)]
    assert errors[1] < 0.6 * errors[0]


def test_whole_numbers_from_training_are_kept(images):
    model = small()
    wanted = {}
    with torch.no_grad():
        for name in ("3", "5"):
            layer = model.get_submodule(name)
            scale = layer.weight.abs().amax((1, 2, 3), keepdim=True) / 7
            wanted[name] = (layer.weight / scale).round()
            layer.weight.copy_(wanted[name] * scale)
    snn = sp.to_snn(model, [images], neuron="signed", progress=False)
    for neuron in snn.neurons.values():  # one spike, one value, as quantised activations have it
        neuron.threshold.fill_(float(neuron.threshold.max()))
    found = sp.quantize(snn)
    for name, codes in wanted.items():
        ratio = found.get_submodule(name).weight / codes
        usable = ratio[codes != 0]
        assert torch.equal(usable, usable[:1].expand_as(usable))


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_potentials_saturate_at_their_width(bits):
    neuron, most = Neuron(potential_bits=bits), 2.0 ** (bits - 1)
    theta = torch.tensor([5.0], dtype=torch.float64)
    start = State(torch.tensor([most - 3], dtype=torch.float64), None, 0)
    out, state = neuron.step(torch.tensor([100.0], dtype=torch.float64), start, theta)
    assert float(state.v) == most - 1 - 5
    assert float(out) == 5
    low = State(torch.tensor([3 - most], dtype=torch.float64), None, 0)
    assert float(neuron.step(torch.tensor([-100.0]).double(), low, theta)[1].v) == -most


def test_a_leak_rounds_to_whole_numbers():
    neuron = Neuron(leak=0.9, potential_bits=24)
    state = State(torch.tensor([7.0]), None, 0)
    _, state = neuron.step(torch.tensor([2.0]), state, torch.tensor([100.0]))
    assert float(state.v) == 8  # 6.3 is 6


def test_potentials_of_every_width_give_the_same_where_none_saturates(converted, images):
    answers = [sp.quantize(converted, potential_bits=bits)(images, 9) for bits in (24, 32)]
    assert torch.equal(*answers)


def test_thresholds_are_powers_of_two_if_wanted(converted, images):
    found = sp.quantize(converted, powers_of_two=True)
    for neuron in found.neurons.values():
        assert torch.equal(neuron.threshold.log2(), neuron.threshold.log2().round())
    assert torch.allclose(found(images, 64), converted(images, 64), atol=0.05)


def test_a_threshold_is_a_whole_number_of_units_exactly():
    theta = torch.tensor([1.0, 0.3]).double()
    unit = unit_of(torch.tensor([0.0101, 0.2]).double(), theta, 24, False)
    count = theta / unit.size
    assert torch.allclose(count, count.round(), rtol=1e-12)
    assert float(unit.size[0]) >= 0.0101
    assert unit.shift.tolist() == [0.0, 3.0]


def test_a_file_is_a_quarter(converted, tmp_path):
    wide = sp.to_snn(nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 10)).eval(),
                     [torch.randn(8, 200)], progress=False)  # fmt: skip
    sp.save(wide, tmp_path / "float.snn")
    sp.save(sp.quantize(wide), tmp_path / "whole.snn")
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.snn", "float.snn")]
    assert sizes[0] < 0.32 * sizes[1]
    with zipfile.ZipFile(tmp_path / "whole.snn") as archive:
        tensors = json.loads(archive.read("network.json"))["tensors"]
    assert tensors["2.weight"]["whole"] == "float32"


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 8)
        self.norm, self.c = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        y = F.relu(self.a(x))
        return self.c(self.norm(y + self.b(y)).softmax(1))


def test_parts_without_whole_numbers_are_named_or_refused():
    torch.manual_seed(0)
    x = torch.randn(8, 6)
    snn = sp.to_snn(Gated().eval(), [x], neuron="signed", progress=False)
    found = sp.quantize(snn)
    assert any("norm" in name for name in found.info["integer"]["analog"])
    assert any("softmax" in name for name in found.info["integer"]["analog"])
    assert torch.allclose(found(x, 64), snn(x, 64), atol=0.05)
    with pytest.raises(ConversionError, match="softmax(.|\n)*strict=True"):
        sp.quantize(snn, strict=True)


def test_what_cannot_be_quantized_is_refused(converted, images):
    found = sp.quantize(converted)
    with pytest.raises(ConversionError, match="integer network already"):
        sp.quantize(found)
    with pytest.raises(ConversionError, match="weight_bits is 9; expected one of 2, 3"):
        sp.quantize(converted, 9)
    with pytest.raises(ConversionError, match="potential_bits is 8; expected one of 16"):
        sp.quantize(converted, potential_bits=8)
    with pytest.raises(ConversionError, match="layer_bits names 'nobody'"):
        sp.quantize(converted, layer_bits={"nobody": 4})
    with pytest.raises(ConversionError, match="needs data="):
        sp.quantize(converted, 4, rounding="calibrated")
    with pytest.raises(ConversionError, match="fine-tune the network that it was quantized from"):
        sp.finetune(found, [(images, torch.zeros(16, dtype=torch.long))], timesteps=2, epochs=1)
    other = sp.to_snn(small(), [images], neuron="differential", progress=False)
    with pytest.raises(ConversionError, match="'1': .*\n(.|\n)*Convert with neuron 'if'"):
        sp.quantize(other)


def test_currents_that_floats_cannot_add_are_refused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3000), nn.ReLU(), nn.Linear(3000, 4), nn.ReLU()).eval()
    snn = sp.to_snn(model, [torch.randn(4, 4)], neuron=Neuron(255, 255), progress=False)
    with pytest.raises(ConversionError, match="layer '2'.*Use fewer weight_bits"):
        sp.quantize(snn)


def test_images_that_weights_were_rounded_on_are_left_out_of_sweeps(converted, images):
    more = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    found = sp.quantize(converted, 4, rounding="calibrated", data=[more])
    curve = sp.sweep(found, [more, torch.randn(2, 3, 8, 8)], (2,), progress=False)
    assert curve.info["left_out_images"] == 4


def test_whole_numbers_cost_what_adds_of_their_width_cost(converted):
    fresh = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    rows = {}
    for bits in (16, 32):
        found = sp.quantize(converted, potential_bits=bits)
        curve = sp.sweep(found, [fresh], (4,), progress=False)
        assert f"{bits}-bit integer adds" in curve.info["energy_table"]
        rows[bits] = curve.rows[0]["energy_uj"]
        assert curve.info["source_energy_uj"] == pytest.approx(
            sp.sweep(converted, [fresh], (4,), progress=False).info["source_energy_uj"]
        )
    assert rows[16] < rows[32] < sp.sweep(converted, [fresh], (4,)).rows[0]["energy_uj"]


def test_saturation_is_counted(converted, images):
    found = sp.quantize(converted, potential_bits=16)
    assert saturation(found, [images], 4, progress=False) == {}
    found.neurons["4"].v0.fill_(2.0**15 - 1)
    shares = saturation(found, [images], 4, progress=False)
    assert list(shares) == ["4"]
    assert 0 < shares["4"] < 1
    with pytest.raises(ConversionError, match="which do not saturate"):
        saturation(converted, [images], 4, progress=False)
