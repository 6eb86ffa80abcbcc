"""Thresholds and initial potentials by gradient."""

import math

import pytest
import torch
from torch import nn

from spikeport.calibration import (
    BiasOnset,
    InitialPotential,
    PercentileThreshold,
    ThresholdTuning,
    calibrate,
)
from spikeport.calibration.threshold_tuning import _Rounded
from spikeport.convert import ConversionError, Neuron, build

FIRST = (PercentileThreshold(), InitialPotential())


@pytest.fixture
def six():
    """ReLU6 and a bottleneck: channels of very different ranges, all far below 6."""
    layers = [nn.Linear(16, 24), nn.ReLU6(), nn.Linear(24, 8), nn.Linear(8, 24), nn.ReLU6()]
    layers[0].weight.data *= torch.logspace(-1, 1, 24)[:, None]
    return nn.Sequential(*layers, nn.Linear(24, 10)).eval()


@pytest.fixture
def data():
    torch.manual_seed(1)
    return [torch.randn(32, 16) for _ in range(4)]


def error(snn, timesteps):
    x = torch.randn(128, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        answers = [snn(x, timesteps=timesteps), snn.analog(x)]
    answers = [answer - answer.mean(1, keepdim=True) for answer in answers]
    return float(1 - torch.cosine_similarity(*answers, 1).mean())


@pytest.mark.parametrize(("neuron", "timesteps"), [(Neuron(1, 1), 16), (Neuron(8, 8), 2)])
def test_answers_on_other_images_come_nearer(six, data, neuron, timesteps):
    plain, tuned = build(six, data[0], neuron), build(six, data[0], neuron)
    calibrate(plain, data, FIRST, progress=False)
    calibrate(tuned, data, [*FIRST, ThresholdTuning(16, 8)], progress=False)
    assert error(tuned, timesteps) < 0.7 * error(plain, timesteps)


def rounded(current, span, offset, ends, levels):
    """What the gradient by hand has to be that of, on torch's own operations."""
    low, high = ends
    inside = current.clamp(low, high).maximum(-span if low < 0 else 0 * span).minimum(span)
    level = inside / span * levels + offset
    return (level + (level.round() - level).detach()) * (span / levels)


@pytest.mark.parametrize("ends", [(0.0, 6.0), (0.0, math.inf), (-math.inf, math.inf)])
def test_the_gradient_by_hand_is_that_of_the_rounding(ends):
    current = (4 * torch.randn(4, 5, 7, 7, dtype=torch.float64)).requires_grad_()
    span = torch.tensor([2.0, 5.0, 5.9, 7.0, 9.3]).double().view(5, 1, 1).requires_grad_()
    offset = (0.9 * torch.rand(5, 1, 1, dtype=torch.float64) - 0.45).requires_grad_()
    weights = torch.randn(4, 5, 7, 7, dtype=torch.float64)
    values, slopes = [], []
    for function in (rounded, _Rounded.apply):
        values.append(function(current, span, offset, ends, 26))
        total = (values[-1] * weights).sum()
        slopes.append(torch.autograd.grad(total, (current, span, offset)))
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*slopes)


def test_it_leaves_weights_and_the_analog_reading(six, data):
    snn = build(six, data[0], Neuron(4, 4))
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    analog = snn.analog(data[0])
    calibrate(snn, data, [*FIRST, ThresholdTuning(epochs=1)], progress=False)
    changed = {n for n, v in snn.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.rpartition(".")[2] for name in changed} <= {"threshold", "v0"}
    assert torch.equal(snn.analog(data[0]), analog)
    assert not any(neuron.threshold.requires_grad for neuron in snn.neurons.values())


def test_the_same_data_give_the_same_thresholds(six, data):
    found = []
    for _ in range(2):
        snn = build(six, data[0], Neuron(1, 1))
        calibrate(snn, data, [*FIRST, ThresholdTuning(epochs=2)], progress=False)
        torch.rand(7)
        found.append(torch.cat([neuron.threshold for neuron in snn.neurons.values()]))
    assert torch.equal(*found)


def test_ranges_and_potentials_stay_within_bounds(six, data):
    snn = build(six, data[0], Neuron(2, 2))
    calibrate(snn, data, [*FIRST, ThresholdTuning(8, 10, 0.5)], progress=False)
    for neuron in snn.neurons.values():
        if math.isfinite(neuron.high):
            span = neuron.threshold * neuron.max_up
            assert bool(((span >= 6 / 8 - 1e-5) & (span <= 12 + 1e-4)).all())
        assert bool((neuron.v0 / neuron.threshold).sub(0.5).abs().le(0.4501).all())


def test_corrections_belong_to_other_thresholds(six, data):
    snn = build(six, data[0], Neuron(1, 1))
    passes = [*FIRST, BiasOnset(timesteps=4), ThresholdTuning(epochs=1)]
    calibrate(snn, data, passes, progress=False)
    assert all(len(neuron.correction) == 0 for neuron in snn.neurons.values())


def test_every_kind_of_layer(everything, data_of_images):
    snn = build(everything, data_of_images[0], Neuron(1, 1))
    calibrate(snn, data_of_images, [*FIRST, ThresholdTuning(epochs=1)], progress=False)
    snn.check_calibrated()


@pytest.fixture
def data_of_images():
    return [torch.randn(6, 3, 6, 6) for _ in range(2)]


@pytest.mark.parametrize(
    ("values", "says"),
    [((1,), "levels"), ((8, 0), "epochs"), ((8, 1, 1.5), "rate"), ((True,), "levels")],
)
def test_unusable_values(values, says):
    with pytest.raises(ConversionError, match=f"ThresholdTuning.{says}"):
        ThresholdTuning(*values)


def test_it_needs_thresholds_and_data(six, data):
    snn = build(six, data[0], Neuron(1, 1))
    with pytest.raises(ConversionError, match="threshold"):
        calibrate(snn, data, [ThresholdTuning()], progress=False)
    calibrate(snn, data, FIRST, progress=False)
    with pytest.raises(ConversionError, match="no batch"):
        calibrate(snn, [], [ThresholdTuning()], progress=False)
