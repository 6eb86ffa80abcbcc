"""What each pass sets, and what it refuses."""

import math

import pytest
import torch
from torch import nn

from spikeport.calibration import (
    InitialPotential,
    MaxThreshold,
    MeanSquaredErrorThreshold,
    PercentileThreshold,
    calibrate,
)
from spikeport.convert import ConversionError, Neuron, build


class Net(nn.Module):
    """A ReLU, a ReLU6 and a linear bottleneck."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 6, 3, padding=1)
        self.relu6 = nn.ReLU6()
        self.bottleneck = nn.Conv2d(6, 4, 1)
        self.conv3 = nn.Conv2d(4, 8, 1)
        self.act3 = nn.ReLU()
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu6(self.conv2(self.relu(self.conv1(x))))
        x = self.act3(self.conv3(self.bottleneck(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 8, 8, generator=generator) for _ in range(3)]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def snn(net, batches):
    return build(net, batches[0], Neuron(2, 2))


def currents(snn, batches):
    """Every neuron's input current on all batches, [C, N]."""
    found = {}

    def observe(name, current):
        found.setdefault(name, []).append(current.movedim(1, 0).flatten(1))

    for batch in batches:
        with torch.no_grad():
            snn.analog(batch, observe)
    return {name: torch.cat(parts, 1) for name, parts in found.items()}


def test_max_threshold_is_the_channel_maximum_over_max_up(snn, batches):
    MaxThreshold()(snn, batches)
    expected = currents(snn, batches)["relu"].amax(1) / 2
    assert torch.allclose(snn.neurons["relu"].threshold, expected)


def test_percentile_is_below_the_maximum_and_near_the_exact_one(snn, batches):
    PercentileThreshold(percentile=90.0)(snn, batches)
    for threshold, values in zip(
        snn.neurons["relu"].threshold, currents(snn, batches)["relu"], strict=True
    ):
        exact = values[values > 0].quantile(0.9) / 2
        assert float(threshold) == pytest.approx(float(exact), rel=0.02)


def test_a_bottleneck_gets_headroom_over_its_largest_magnitude(snn, batches):
    for one in (MaxThreshold(headroom=1.5), PercentileThreshold(headroom=1.5)):
        one(snn, batches)
        expected = currents(snn, batches)["bottleneck#out"].abs().amax(1) * 1.5 / 2
        assert torch.allclose(snn.neurons["bottleneck#out"].threshold, expected)


@pytest.mark.parametrize("timesteps", [1, 4, 16])
def test_mean_squared_error_is_the_best_of_its_candidates(snn, batches, timesteps):
    MeanSquaredErrorThreshold(timesteps=timesteps)(snn, batches)
    levels = timesteps * 2

    def error(values, span):
        step = span / levels
        return float(((values / step).round().clamp(0, levels) * step - values).square().sum())

    values = currents(snn, batches)["relu"].clamp_min(0).double()
    for channel, threshold in zip(values, snn.neurons["relu"].threshold, strict=True):
        top = float(channel.max())
        best = min(error(channel, top * (1 - 0.01 * i)) for i in range(95))
        # the histogram rounds each value to its bin
        assert error(channel, float(threshold) * 2) <= best * 1.02 + 1e-6 * top**2


def test_more_timesteps_clip_less(snn, batches):
    spans = []
    for timesteps in (1, 64):
        MeanSquaredErrorThreshold(timesteps=timesteps)(snn, batches)
        spans.append(snn.neurons["relu"].threshold.sum())
    assert spans[0] < spans[1]


def test_initial_potential_is_the_fraction_of_the_threshold(snn, batches):
    MaxThreshold()(snn, batches)
    InitialPotential(fraction=0.25)(snn, batches)
    for neuron in snn.neurons.values():
        assert torch.equal(neuron.v0, neuron.threshold * 0.25)


def test_initial_potential_needs_thresholds(snn, batches):
    with pytest.raises(ConversionError, match="layer 'relu' has no threshold yet"):
        InitialPotential()(snn, batches)


def test_a_silent_channel_gets_the_layers_range(net, batches):
    net.conv1.bias.data[3] = -1e4
    snn = build(net, batches[0], Neuron(1, 1))
    MaxThreshold()(snn, batches)
    threshold = snn.neurons["relu"].threshold
    assert float(threshold[3]) == float(threshold.max())


def test_a_layer_that_never_fires_is_named(net, batches):
    net.conv1.bias.data.fill_(-1e4)
    snn = build(net, batches[0], Neuron(1, 1))
    with pytest.warns(UserWarning, match="layer 'relu' never fires on the calibration data"):
        calibrate(snn, batches, progress=False)
    # it is 0 at any threshold, and the rest of the network works
    assert (snn(batches[0], 64) - snn.analog(batches[0])).abs().max() < 0.1


def test_a_current_that_is_not_finite_is_named(snn, batches):
    snn.conv2.weight.data[0, 0, 0, 0] = math.nan
    with pytest.raises(ConversionError, match="layer 'relu6': the input current is NaN"):
        calibrate(snn, batches, progress=False)


def test_passes_are_safe_to_rerun_and_order_of_batches_does_not_matter(snn, batches):
    calibrate(snn, batches, progress=False)
    first = {name: neuron.threshold.clone() for name, neuron in snn.neurons.items()}
    calibrate(snn, batches[::-1], progress=False)
    for name, neuron in snn.neurons.items():
        assert torch.allclose(neuron.threshold, first[name], rtol=2e-3)


def test_calibration_is_noted(snn, batches):
    calibrate(snn, batches, "mse", timesteps=8, progress=False)
    assert snn.info["recipe"] == "mse"
    assert snn.info["passes"] == [
        "MeanSquaredErrorThreshold(headroom=1.2, scope='channel', spikes_per_range=None, "
        "timesteps=8)",
        "InitialPotential(fraction=0.5)",
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no batch"),
        (iter([torch.zeros(1, 3, 8, 8)]), "read only once"),
        ([torch.zeros(2, 4, 8, 8)], r"shape \[2, 4, 8, 8\]"),
        ([torch.zeros(3, 8, 8)], r"shape \[3, 8, 8\]"),
        ([torch.full((1, 3, 8, 8), math.nan)], "NaN"),
        ([torch.zeros(1, 3, 8, 8, dtype=torch.uint8)], "float tensor"),
        (["image"], "float tensor"),
    ],
)
def test_unusable_data_is_refused(snn, data, message):
    with pytest.raises(ConversionError, match=message):
        calibrate(snn, data, progress=False)


def test_unknown_recipe_lists_the_known_ones(snn, batches):
    with pytest.raises(ConversionError, match=r"unknown recipe 'better'.*'default'.*'mse'"):
        calibrate(snn, batches, "better")


def test_a_recipe_for_one_t_asks_for_it(snn, batches):
    with pytest.raises(ConversionError, match="timesteps=16"):
        calibrate(snn, batches, "mse")


@pytest.mark.parametrize(
    "bad",
    [
        lambda: PercentileThreshold(percentile=0),
        lambda: PercentileThreshold(percentile=101),
        lambda: MaxThreshold(headroom=0.5),
        lambda: InitialPotential(fraction=1.0),
        lambda: MeanSquaredErrorThreshold(timesteps=0),
    ],
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(ConversionError, match="expected"):
        bad()


@pytest.mark.parametrize("span", [(-0.2, None), (None, 0.3), (-0.1, 0.4)])
@pytest.mark.parametrize(
    "pass_", [MaxThreshold(), PercentileThreshold()], ids=["max", "percentile"]
)
def test_a_clamp_with_one_end_does_not_saturate_at_the_other(span, pass_):
    class Clamp(nn.Module):
        def forward(self, x):
            return x.clamp(*span)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), Clamp(), nn.Linear(8, 3)).eval()
    x = 2 * torch.randn(64, 6)
    snn = build(net, x, Neuron(2, 2))
    pass_(snn, [x])
    assert (snn(x, 512) - net(x)).abs().max() < 0.02 * net(x).abs().max()
