"""Integer networks with ``backend="cuda"``, through the stand-in for CuPy: torch's, bit for bit."""

from contextlib import contextmanager

import pytest
import torch
from integer_network import emitted, integer_network
from test_network import network
from torch import nn

from spikeport.calibration import calibrate
from spikeport.convert import KINDS, Neuron, build
from spikeport.convert.integers.quantize import quantize
from spikeport.convert.simulation import exact_sums
from spikeport.convert.simulation import run as simulation_run
from spikeport.convert.simulation.gpu import int8_products
from spikeport.convert.simulation.gpu import run as cuda_run
from spikeport.convert.simulation.gpu.int8_products import Int8Layer, suits
from spikeport.zoo import load_model

TIMESTEPS = 12
KIND = ["if", "signed", "multi-level", Neuron(2, 1, leak=0.75), Neuron(2, hard_reset=True)]


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**26, 2**30))


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("kind", KIND, ids=str)
@torch.no_grad()
def test_spikes_are_those_of_torch(cupy, kind, bits):
    snn, x = integer_network(kind, bits)
    expected, found = emitted(snn, x, "torch"), emitted(snn, x, "cuda", 5)
    assert len(expected) == len(snn.neurons) + 1  # the maximum of a pool emits too
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert values.unique().numel() > 1, name
        assert torch.equal(values, values.round())
        assert torch.equal(found[name], values), name


@pytest.mark.parametrize("bits", [16, 24])
@torch.no_grad()
def test_outputs_are_those_of_torch(cupy, bits):
    snn, x = integer_network("signed", bits)
    outputs = []
    for backend, chunk in (("torch", None), ("cuda", None), ("cuda", 5)):
        snn.backend = backend
        outputs.append(dict(snn.readouts(x, [1, 5, TIMESTEPS], chunk)))
    for found in outputs[1:]:
        for timesteps, output in outputs[0].items():
            assert torch.equal(found[timesteps], output)
    assert {(form["SP_BITS"], form["SP_VALUE"]) for form in scans(cupy)} == {(str(bits), "1")}
    assert {form["SP_EMIT"] for form in scans(cupy)} == {"0", "1", "3"}  # totals, bits, values


def scans(cupy):
    """The form of each scan that ran."""
    return [dict(build.defines) for build, _ in cupy.launches if build.kernel == "scan"]


@pytest.fixture
def integers(monkeypatch):
    """Products of integers wherever they can be; the layers that had one."""
    used = []

    def is_quicker(layer, x, plain):
        assert torch.equal(layer(x), plain())
        used.append(layer.layer)
        return True

    monkeypatch.setattr(int8_products, "is_quicker", is_quicker)
    return used


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_products_of_integers_give_the_same_spikes(cupy, integers, memory_format, monkeypatch):
    monkeypatch.setattr(cuda_run, "SPARSE_BELOW", 0.0)
    snn, x = integer_network("signed", 24)
    expected = emitted(snn, x, "torch")
    snn, x = snn.to(memory_format=memory_format), x.to(memory_format=memory_format)
    found = emitted(snn, x, "cuda", 5)
    assert all(torch.equal(found[name], values) for name, values in expected.items())
    snn(x, 8)
    kinds = {type(layer) for layer in integers}
    assert kinds == {nn.Conv2d, nn.Linear}
    strides = {layer.stride for layer in integers if isinstance(layer, nn.Conv2d)}
    assert strides == {(1, 1), (2, 2)}
    assert not [layer for layer in integers if getattr(layer, "groups", 1) > 1]


CONVOLUTION = nn.Conv2d(8, 8, 3)


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (CONVOLUTION, True),
        (nn.Conv2d(8, 8, (1, 3), (2, 1), (0, 1), bias=False), True),
        (nn.Conv2d(8, 8, 3, dilation=2), False),
        (nn.Conv2d(8, 8, 3, groups=2), False),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(8, 8, 3, padding="same"), False),
        (nn.Conv2d(8, 9, 3), False),
        (nn.ConvTranspose2d(8, 8, 3), False),
    ],
    ids=str,
)
@torch.no_grad()
def test_layers_that_are_no_matrix_are_left_to_floats(layer, fits):
    x = torch.randint(-127, 128, (3, 8, 7, 6)).float()
    assert suits(layer, x) is fits
    assert not suits(layer, x.half())
    assert not suits(layer, x[:0])
    if fits:
        for parameter in layer.parameters():
            parameter.copy_(torch.randint_like(parameter, -127, 128))
        made = Int8Layer(layer)
        assert made.exact
        assert torch.equal(made(x), layer(x))
        layer.weight[0, 0, 0, 0] = 128
        assert not Int8Layer(layer).exact


@torch.no_grad()
def test_the_quicker_product_is_measured_once(monkeypatch):
    monkeypatch.setattr(int8_products, "_quicker", {})
    clock, calls = [0.0], []
    monkeypatch.setattr(int8_products.time, "perf_counter", lambda: clock[0])
    layer, x = Int8Layer(nn.Linear(8, 8)), torch.ones(20, 8)
    for seconds, quicker in ((0.5, False), (2.0, True)):

        def plain(seconds=seconds):
            calls.append(seconds)
            clock[0] += seconds

        def integers(layer, x):
            clock[0] += 1.0

        monkeypatch.setattr(Int8Layer, "__call__", integers)
        monkeypatch.setattr(int8_products, "_quicker", {})
        assert int8_products.is_quicker(layer, x, plain) is quicker
        before = len(calls)
        assert int8_products.is_quicker(layer, x, plain) is quicker
        assert len(calls) == before > 0


def test_all_bits_of_operands_are_taken_on_a_gpu():
    def now():
        return [getattr(owner, name) for owner, name, _ in exact_sums._settings()]

    before = now()
    with exact_sums.exact_sums(torch.device("cpu")):
        assert now() == before
    with exact_sums.exact_sums(torch.device("cuda")):
        assert now() == [exact for *_, exact in exact_sums._settings()] != before
    assert now() == before
    assert torch.backends.cudnn.allow_tf32  # torch's default, and no error for two ways of setting


@pytest.mark.parametrize("backend", ["torch", "cuda"])
@torch.no_grad()
def test_a_run_on_a_gpu_takes_all_bits(cupy, backend, monkeypatch):
    entered = []

    @contextmanager
    def exact_sums(device):
        entered.append(device)
        yield
        entered.append("left")

    monkeypatch.setattr(simulation_run, "exact_sums", exact_sums)
    snn, x = integer_network("signed", 24)
    snn.backend = backend
    snn(x, 6, 3)
    assert entered == [x.device, "left"] * 3  # what does not change in time, and two chunks
    for neuron in snn.neurons.values():
        neuron.unit.data = torch.zeros(0)
    snn(x, 6, 3)
    assert len(entered) == 6


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("kind", ["if", "signed", "multi-level"])
@torch.no_grad()
def test_quantized_networks_are_torchs(cupy, kind, bits):
    snn, x = network(kind)  # with a pool by the maximum, one by the mean, and a sigmoid
    chip = quantize(snn, potential_bits=bits)
    expected, found = emitted(chip, x, "torch"), emitted(chip, x, "cuda", 5)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], values), name
    outputs = []
    for backend, chunk in (("torch", None), ("cuda", 5)):
        chip.backend = backend
        outputs.append(dict(chip.readouts(x, [1, 5, TIMESTEPS], chunk)))
    for timesteps, output in outputs[0].items():
        assert torch.equal(outputs[1][timesteps], output)


@torch.no_grad()
def test_a_quantized_residual_network_by_products_of_integers(cupy, integers):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 32)
    snn = build(load_model("cifar10/resnet20"), x, KINDS["signed"])
    calibrate(snn, [x], "fast", progress=False)
    chip = quantize(snn)
    expected, found = emitted(chip, x, "torch"), emitted(chip, x, "cuda", 6)
    for name, values in expected.items():
        assert torch.equal(found[name], values), name
    assert len(integers) > 20
