"""Quantised activations become neurons with their levels, however they are written."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from spikeport.calibration import calibrate
from spikeport.convert import Neuron, build
from spikeport.convert.saving.container import load, save

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated
CHANNELS = 6


class Written(nn.Module):
    """A quantised activation in the code of a module.

    Attributes:
        top, number, levels: of the range [0, top].
    """

    def __init__(self, write, top, levels):
        super().__init__()
        self.write, self.levels, self.number = write, levels, top
        self.top = nn.Parameter(torch.tensor(top))
        self.register_buffer("tops", torch.linspace(0.5, 1.0, CHANNELS) * top)

    def forward(self, x):
        return self.write(self, x)


def qcfs(self, x):
    return torch.floor((x / self.top).clamp(0, 1) * self.levels + 0.5) / self.levels * self.top


def clamped_last(self, x):
    steps = torch.floor(x * self.levels / self.top + 0.5)
    return torch.clamp(steps, 0, self.levels) * self.top / self.levels


def lsq(self, x):
    step = self.top / self.levels
    return torch.round((x / step).clamp(0, self.levels)) * step


def pact(self, x):
    scale = self.levels / self.top
    return torch.minimum(x.relu(), self.top).mul(scale).round().div(scale)


def without_half(self, x):
    scale = self.levels / self.number
    return (x * scale).clamp(0, self.levels).trunc() / scale


def fake_quantized(self, x):
    return torch.fake_quantize_per_tensor_affine(
        F.relu(x), self.number / self.levels, 0, 0, self.levels
    )


def by_channel(self, x):
    zeros = torch.zeros(CHANNELS, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(
        x, self.tops / self.levels, zeros, 1, 0, self.levels
    )


def by_channel_by_hand(self, x):
    scale = self.levels / self.tops
    return ((x * scale + 0.5).floor().clamp(0, self.levels)) / scale


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.round()

    @staticmethod
    def backward(context, gradient):
        return gradient


def through(x, of_x):
    """The straight-through gradient, by hand."""
    return x + (of_x - x).detach()


def lsq_by_hand(self, x):
    step = self.top / self.levels
    step = (step - 0.1 * step).detach() + 0.1 * step  # scales its gradient
    x = (x / step).clamp(0, self.levels)
    return through(x, x.round()) * step


def dorefa(self, x):
    return Straight.apply((x / self.top).clamp(0, 1) * self.levels) / self.levels * self.top


def clipped_by_tensors(self, x):
    scale = self.levels / self.top
    x = torch.max(torch.min(x, self.top), torch.zeros_like(x)) * scale
    return ((x.round() - x).detach() + x) / scale


def raised(self, x):
    scale = self.levels / self.number
    return torch.ceil(x * scale - 0.5).clamp(0, self.levels) / scale


def whole_numbers(self, x):
    scale = self.levels / self.number
    return (x * scale).clamp(0, self.levels).int().to(x.dtype) / scale


def divided(self, x):
    step = self.number / self.levels
    return x.clamp(0, self.number + 0.01 * step) // step * step


def with_a_current(self, x):
    """The step's edges are somewhere, for every channel."""
    scale, by = self.levels / self.top, torch.linspace(-0.1, 0.1, CHANNELS)
    return ((x + by) * scale).clamp(0, self.levels).round() / scale


def learned_scale(self, x):
    scale = (self.top / self.levels).log().exp().reshape(1)
    return torch._fake_quantize_learnable_per_tensor_affine(
        x, scale, torch.zeros(1), 0, self.levels, 1.0
    )


def quantized_for_real(self, x):
    step = self.number / self.levels
    x = x.clamp(0, self.number)
    return torch.quantize_per_tensor(x, step, 0, torch.quint8).dequantize()


def steeper(self, x):
    """Steps are half as high as they are wide."""
    return 0.5 * qcfs(self, x)


WAYS = [
    qcfs,
    clamped_last,
    lsq,
    pact,
    without_half,
    fake_quantized,
    by_channel,
    by_channel_by_hand,
    steeper,
    lsq_by_hand,
    dorefa,
    clipped_by_tensors,
    raised,
    whole_numbers,
    divided,
    with_a_current,
    learned_scale,
    quantized_for_real,
]


def made(write, top, levels, neuron, seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, CHANNELS), Written(write, top, levels), nn.Linear(CHANNELS, 3))
    x = 2 * torch.randn(64, 5)
    snn = build(net.eval(), x, neuron)
    calibrate(snn, [x], progress=False)
    return net, snn, x


@pytest.mark.parametrize("write", WAYS)
@settings(deadline=None, max_examples=12)
@given(
    top=st.floats(0.3, 4),
    levels=st.sampled_from([1, 2, 3, 4, 8, 15]),
    up=st.sampled_from([1, 2, 4]),
)
@torch.no_grad()
def test_levels_are_exact_after_as_many_timesteps(write, top, levels, up):
    net, snn, x = made(write, top, levels * up, Neuron(up))
    assert list(snn.neurons) == ["1"]
    expected = net(x)
    assert torch.allclose(snn.analog(x), expected, atol=1e-5 * top)
    found = snn(x, levels)  # levels · up levels, up at each timestep
    off = (found - expected).abs() > 1e-4 * top
    assert off.float().mean() < 0.02  # a current within rounding of the edge of a step


@pytest.mark.parametrize("write", WAYS)
@torch.no_grad()
def test_levels_are_kept_in_files(write, tmp_path):
    _, snn, x = made(write, 1.5, 8, Neuron(1))
    save(snn, tmp_path / "net.snn")
    again = load(tmp_path / "net.snn")
    assert torch.equal(again(x, 8), snn(x, 8))
    assert torch.equal(again.analog(x), snn.analog(x))


@torch.no_grad()
def test_signed_levels():
    def signed(self, x):
        return torch.fake_quantize_per_tensor_affine(x, 0.1, 8, 0, 15)

    net, snn, x = made(signed, 1.0, 15, Neuron(1, 1))
    assert (snn.neurons["1"].low, snn.neurons["1"].high) == pytest.approx((-0.8, 0.7))
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    assert ((snn(x, 8) - net(x)).abs() > 1e-3).float().mean() < 0.02


@torch.no_grad()
@pytest.mark.parametrize("offset", [-0.4, -0.45, 0.3])
def test_a_range_that_does_not_begin_at_zero(offset):
    """LSQ+ (Bhalgat et al. 2020): a learned offset, of whole levels or not."""

    def from_offset(self, x):
        return ((x - offset) / 0.2).round().clamp(0, 15) * 0.2 + offset

    net, snn, x = made(from_offset, 1.0, 15, Neuron(1, 1))
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    errors = [float((snn(x, T) - net(x)).norm() / net(x).norm()) for T in (2, 32)]
    assert errors[1] < 0.3 * errors[0]


@torch.no_grad()
@pytest.mark.parametrize("write", [lambda self, x: (x > 0.1).float(), lambda self, x: x.sign()])
def test_activations_of_two_values(write):
    net, snn, x = made(write, 1.0, 1, Neuron(1))
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    errors = [float((snn(x, T) - net(x)).norm() / net(x).norm()) for T in (1, 64)]
    assert errors[1] < 0.3


@torch.no_grad()
@pytest.mark.parametrize("neuron", [Neuron(1), Neuron(1, 1)])
def test_edges_that_are_not_in_the_middle_keep_the_limit_there(neuron):
    """A floor without a half: for many timesteps the ramp goes through the middle of the steps."""
    net, snn, x = made(without_half, 2.0, 4, neuron)
    middle = (x @ net[0].weight.T + net[0].bias - 0.25).clamp(0, 2)
    assert torch.allclose(snn(x, 256), net[2](middle), atol=0.05)


@torch.no_grad()
def test_deep_networks_lose_to_time_only():
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Linear(16, 16), Written(qcfs, 1.0, 8)]
    layers[1].tops, layers[3].tops = torch.ones(16), torch.ones(16)
    net = nn.Sequential(*layers, nn.Linear(16, 4)).eval()
    x = torch.randn(64, 16)
    snn = build(net, x, Neuron(4, 4))
    calibrate(snn, [x], progress=False)
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    errors = [float((snn(x, T) - net(x)).norm() / net(x).norm()) for T in (2, 64)]
    assert errors[0] < 0.3
