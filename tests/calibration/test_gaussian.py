"""The closed form against numerical integration, its minimum against a search."""

import math

import pytest
import torch

from spikeport.calibration import GaussianThreshold
from spikeport.calibration.gaussian import Moments, best_range
from spikeport.convert import ConversionError, Neuron, build

CASES = [(0.0, 1.0), (-2.0, 1.0), (3.0, 1.0), (10.0, 0.5), (0.3, 7.0)]


def error(span, mean, deviation, levels):
    """Expected squared error by the trapezoidal rule."""
    x = torch.linspace(mean - 9 * deviation, mean + 9 * deviation, 40_001, dtype=torch.float64)
    density = torch.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
    step = span / levels
    quantised = (x / step).round().clamp(0, levels) * step
    return float(torch.trapezoid((quantised - x.clamp_min(0)) ** 2 * density, x))


@pytest.mark.parametrize("levels", [1, 2, 3, 8, 64])
@pytest.mark.parametrize(("mean", "deviation"), CASES)
def test_no_range_is_better(mean, deviation, levels):
    found = float(best_range(torch.tensor([mean]).double(), torch.tensor([deviation]), levels))
    spans = torch.linspace(0.01, 1, 150) * (max(mean, 0) + 8 * deviation)
    least = min(error(float(span), mean, deviation, levels) for span in spans)
    assert error(found, mean, deviation, levels) <= least * 1.01 + 1e-12


def test_more_levels_reach_further():
    mean, deviation = torch.zeros(1).double(), torch.ones(1).double()
    spans = [float(best_range(mean, deviation, levels)) for levels in (1, 4, 16, 64, 256)]
    assert spans == sorted(spans)


def test_channels_without_a_current_above_zero_have_no_range():
    mean = torch.tensor([-100.0, -3.0, 0.0]).double()
    found = best_range(mean, torch.tensor([1.0, 0.0, 0.0]).double(), 8)
    assert (found <= 1e-6).all()
    assert torch.isfinite(found).all()


def test_moments_of_parts_are_those_of_the_whole():
    values = torch.randn(3, 1000, dtype=torch.float64) * 5 + 1e4
    moments = Moments(3)
    for part in values.split([1, 499, 300, 200], dim=1):
        moments.add(part)
    assert torch.allclose(moments.mean, values.mean(1))
    assert torch.allclose(moments.deviation, values.std(1, correction=0))
    assert torch.equal(moments.highest, values.amax(1))


def test_a_thresholds_range_is_that_of_its_channel(deep, data):
    snn = build(deep, data[0], Neuron(2, 2))
    GaussianThreshold(timesteps=4)(snn, data)
    currents = []
    with torch.no_grad():
        snn.analog(torch.cat(data), lambda name, current: currents.append(current))
    values = currents[1].movedim(1, 0).flatten(1).double()
    expected = best_range(values.mean(1), values.std(1, correction=0), 8) / 2
    assert torch.allclose(list(snn.neurons.values())[1].threshold, expected.float(), rtol=1e-3)


def test_a_layer_that_never_fires_is_named(deep, data):
    deep[0].bias.data.fill_(-1e4)
    snn = build(deep, data[0], Neuron())
    with pytest.warns(UserWarning, match="layer '1' never fires"):
        GaussianThreshold(timesteps=4)(snn, data)
    snn.check_calibrated()


def test_it_is_for_one_t():
    with pytest.raises(ConversionError, match="timesteps is 0.*for one T"):
        GaussianThreshold()
