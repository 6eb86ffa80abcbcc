"""Thresholds for a model, a layer, a channel or a neuron."""

import pytest
import torch

from spikeport.calibration import (
    InitialPotential,
    MaxThreshold,
    MeanSquaredErrorThreshold,
    PercentileThreshold,
    PotentialCorrection,
    calibrate,
)
from spikeport.calibration.statistics import ChannelHistogram, pooled
from spikeport.convert import ConversionError, Neuron, build
from spikeport.convert.saving.container import load, save

RELUS = ("act1", "act2", "act3", "act4", "act5")


def largest(snn, data):
    """The largest current of each ReLU layer, by name, [C, N]."""
    found = {}

    def observe(name, current):
        dim = snn.neurons[name].channel_dim
        found.setdefault(name, []).append(current.movedim(dim, 0).flatten(1))

    with torch.no_grad():
        for batch in data:
            snn.analog(batch, observe)
    return {name: torch.cat(parts, 1) for name, parts in found.items()}


@pytest.fixture
def snn(everything, data):
    return build(everything, data[0], Neuron(2, 2))


def test_one_maximum_for_a_layer(snn, data):
    MaxThreshold(scope="layer")(snn, data)
    for name, currents in largest(snn, data).items():
        if name in RELUS:
            expected = (currents.max() / 2).expand(len(currents))
            assert torch.allclose(snn.neurons[name].threshold, expected)


def test_one_maximum_for_the_model_and_one_for_its_linear_quantities(snn, data):
    MaxThreshold(scope="model")(snn, data)
    currents = largest(snn, data)
    relus = max(float(currents[name].max()) for name in RELUS)
    linear = float(currents["bottleneck#out"].abs().max()) * 1.2
    for name, neuron in snn.neurons.items():
        span = {"relu6": 6.0, "bottleneck#out": linear}.get(name, relus)
        assert torch.allclose(neuron.threshold * 2, torch.tensor(span)), name


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_a_shared_percentile_is_that_of_all_values_together(snn, data, scope):
    PercentileThreshold(90.0, scope=scope)(snn, data)
    currents = largest(snn, data)
    for name in RELUS:
        values = currents[name].flatten()
        if scope == "model":
            values = torch.cat([currents[each].flatten() for each in RELUS])
        exact = values[values > 0].quantile(0.9)
        assert float(snn.neurons[name].threshold[0] * 2) == pytest.approx(float(exact), rel=0.02)


def test_a_shared_least_squares_threshold_lies_between_those_of_the_channels(snn, data):
    MeanSquaredErrorThreshold(timesteps=2)(snn, data)
    own = snn.neurons["act1"].threshold.clone()
    MeanSquaredErrorThreshold(timesteps=2, scope="layer")(snn, data)
    shared = snn.neurons["act1"].threshold
    assert (shared == shared[0]).all()
    assert own.min() <= shared[0] <= own.max()


def test_a_maximum_for_every_neuron(snn, data, tmp_path):
    calibrate(snn, data, [MaxThreshold(scope="neuron"), InitialPotential()], progress=False)
    threshold = snn.neurons["act1"].threshold
    assert threshold.shape == (8, 6, 6)
    x = torch.cat(data)
    seen = []
    with torch.no_grad():
        snn.analog(x, lambda name, current: seen.append(current) if name == "act1" else None)
        assert torch.allclose(threshold * 2, seen[0].amax(0))
        exact, spiking = snn.analog(x), snn(x, timesteps=256)
        assert (exact - spiking).abs().max() < 0.02 * exact.abs().max()
        save(snn, tmp_path / "net.snn")
        assert torch.equal(load(tmp_path / "net.snn")(x, timesteps=9), snn(x, timesteps=9))


def test_a_threshold_for_every_neuron_has_passes_after_it(snn, data):
    recipe = [
        MaxThreshold(scope="neuron"),
        InitialPotential(),
        PotentialCorrection(timesteps=4),
        PotentialCorrection(timesteps=4, scope="neuron"),
    ]
    calibrate(snn, data, recipe, progress=False)
    for neuron in snn.neurons.values():
        assert neuron.v0.shape == neuron.threshold.shape


def test_a_threshold_for_every_neuron_needs_images_of_one_size(snn, data):
    other = torch.randn(2, 3, 8, 8)
    with pytest.raises(ConversionError, match="layer 'act1'.*one size.*scope='channel'"):
        MaxThreshold(scope="neuron")(snn, [*data, other])


def test_burst_spikes_beyond_the_range_flush(snn, data):
    MaxThreshold(scope="layer")(snn, data)
    parts = snn.neurons["act1"].threshold.clone()
    MaxThreshold(scope="layer", spikes_per_range=1)(snn, data)
    assert torch.allclose(snn.neurons["act1"].threshold, parts * 2)


def test_a_new_threshold_drops_what_belonged_to_the_old_one(snn, data):
    calibrate(snn, data, "ftbc", timesteps=3, progress=False)
    assert snn.neurons["act1"].correction.shape == (3, 8)
    MaxThreshold()(snn, data)
    for neuron in snn.neurons.values():
        assert neuron.correction.shape == (0, neuron.channels)
        assert (neuron.v0 == 0).all()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: MaxThreshold(scope="pixel"),
        lambda: PercentileThreshold(scope="neuron"),
        lambda: MaxThreshold(spikes_per_range=0),
        lambda: MaxThreshold(spikes_per_range=True),
        lambda: PotentialCorrection(timesteps=4, scope="layer"),
    ],
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(ConversionError, match="expected"):
        bad()


def test_pooled_histograms_keep_counts_and_the_order_of_magnitude():
    one, other = ChannelHistogram(2), ChannelHistogram(1)
    one.add(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    other.add(torch.tensor([[100.0, 50.0, 25.0]]))
    together = pooled([one, other]).merged()
    assert together.counts.sum() == 6
    assert together.maximum == 100
    assert float(together.percentile(50)) == pytest.approx(3, abs=0.2)
    assert ChannelHistogram(3).merged().counts.sum() == 0
