"""Thresholds that move with what they cut off."""

import pytest
import torch
from torch import nn

from spikeport.calibration import LocalThresholdBalancing
from spikeport.convert import ConversionError, Neuron, build


def test_an_update_is_twice_the_mean_excess(data):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    snn = build(model, data[0], Neuron())
    LocalThresholdBalancing(2, rate=0.5)(snn, data)
    with torch.no_grad():
        first, second = (model[0](batch).movedim(1, 0).flatten(1) for batch in data[:2])
        span = first.clamp_min(0).mean(1)
        span += (second - span[:, None]).clamp_min(0).mean(1)
    assert torch.allclose(snn.neurons["1"].threshold, span, rtol=1e-5)


def test_thresholds_rise_with_the_iterations_to_at_most_the_maximum(deep, data):
    snn, sums = build(deep, data[0], Neuron()), []
    for iterations in (3, 30, 300):
        LocalThresholdBalancing(iterations)(snn, data)
        sums.append(sum(float(n.threshold.sum()) for n in snn.neurons.values()))
    assert sums == sorted(sums)
    currents = {}
    with torch.no_grad():
        snn.analog(torch.cat(data), lambda name, current: currents.update({name: current}))
    for name, neuron in snn.neurons.items():
        assert (neuron.threshold <= currents[name].max() * 1.001).all()


def test_the_network_is_itself_again_afterwards(everything, data):
    snn = build(everything, data[0], Neuron())
    LocalThresholdBalancing(4)(snn, data)
    with torch.no_grad():
        assert torch.allclose(snn.analog(data[0]), everything(data[0]), atol=1e-5)
    assert not any("analog" in vars(neuron) for neuron in snn.neurons.values())


def test_a_current_that_is_not_finite_is_named(deep, data):
    snn = build(deep, data[0], Neuron())
    snn.get_submodule("2").weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ConversionError, match="layer '3': the input current is NaN"):
        LocalThresholdBalancing(3)(snn, data)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: LocalThresholdBalancing(0),
        lambda: LocalThresholdBalancing(True),
        lambda: LocalThresholdBalancing(rate=0),
        lambda: LocalThresholdBalancing(rate=1.5),
        lambda: LocalThresholdBalancing(headroom=0.9),
    ],
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(ConversionError, match="expected"):
        bad()
