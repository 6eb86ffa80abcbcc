"""Passes that go layer by layer on the spiking network's own inputs."""

import copy

import pytest
import torch
from torch import nn

from spikeport.calibration import (
    BiasOverTime,
    ChannelBias,
    InitialPotential,
    LayerwisePass,
    MaxThreshold,
    OutputErrorThreshold,
    PercentileThreshold,
    PotentialCorrection,
    SpikeNorm,
    WeightCalibration,
    calibrate,
    layerwise,
)
from spikeport.convert import KINDS, ConversionError, Neuron, build

T = 6
START = [PercentileThreshold(), InitialPotential(0.2)]
ONE_T = (ChannelBias, BiasOverTime, PotentialCorrection, WeightCalibration, OutputErrorThreshold)


def emissions(snn, x, timesteps=T):
    """What each layer emits, [T, B, ...], by name."""
    found = {}
    snn.backend = "torch"
    with torch.no_grad():
        for _ in snn.chunks(x, timesteps, timesteps, lambda n, e, first: found.update({n: e})):
            pass
    return found


def activations(snn, x):
    found = {}

    def observe(name, current):
        found[name] = snn.neurons[name].analog(current)

    with torch.no_grad():
        snn.analog(x, observe)
    return found


def residuals(snn, source, x):
    """Mean of activation - emission over images and positions, [T, C] for each layer in order."""
    wanted, emitted = activations(source, x), emissions(snn, x)
    for name, neuron in snn.neurons.items():
        missing = wanted[name] - emitted[name]
        dim = neuron.channel_dim % wanted[name].ndim + 1
        yield missing.mean([d for d in range(1, missing.ndim) if d != dim])


def output_error(snn, source, x):
    with torch.no_grad():
        return float((snn(x, T) - source.analog(x)).square().mean())


@pytest.fixture(params=["if", "signed", "multi-level"])
def started(request, deep, data):
    """A network with thresholds and potentials that are somewhat off, and a copy of it."""
    snn = build(deep, data[0], KINDS[request.param])
    calibrate(snn, data, START, progress=False)
    return snn, copy.deepcopy(snn)


@pytest.mark.parametrize("one", [ChannelBias(timesteps=T), PotentialCorrection(timesteps=T)])
def test_the_mean_residual_of_every_channel_shrinks(started, data, one):
    snn, before = started
    calibrate(snn, data, [one], progress=False)
    x = torch.cat(data)
    old = torch.cat([r.mean(0) for r in residuals(before, before, x)]).square().mean()
    new = torch.cat([r.mean(0) for r in residuals(snn, before, x)]).square().mean()
    assert new < 0.5 * old
    assert output_error(snn, before, x) < output_error(before, before, x)


def test_a_bias_over_time_shrinks_the_residual_at_every_timestep(started, data):
    snn, before = started
    calibrate(snn, data, [BiasOverTime(timesteps=T)], progress=False)
    x = torch.cat(data)
    old = torch.cat([r.square().mean(1, keepdim=True) for r in residuals(before, before, x)], 1)
    new = torch.cat([r.square().mean(1, keepdim=True) for r in residuals(snn, before, x)], 1)
    assert new.mean() < old.mean()
    assert output_error(snn, before, x) < output_error(before, before, x)


def test_weights_lower_the_error_of_the_layers_output(started, data):
    snn, before = started
    calibrate(snn, data, [WeightCalibration(timesteps=T, ridge=0.01)], progress=False)
    x = torch.cat(data)
    assert output_error(snn, before, x) < 0.7 * output_error(before, before, x)


def test_weights_barely_move_under_a_large_penalty(started, data):
    snn, before = started
    calibrate(snn, data, [WeightCalibration(timesteps=T, ridge=1e9)], progress=False)
    for old, new in zip(before.parameters(), snn.parameters(), strict=True):
        if new.ndim > 1 and new.numel():
            assert torch.allclose(old, new, atol=1e-5)


def test_thresholds_by_output_error_beat_the_maximum(started, data):
    snn, other = started
    for each in (snn, other):
        calibrate(each, data, [MaxThreshold(), InitialPotential()], progress=False)
    calibrate(snn, data, [OutputErrorThreshold(timesteps=T)], progress=False)
    x = torch.cat(data)
    wanted, chosen, largest = activations(snn, x), emissions(snn, x), emissions(other, x)
    first = next(iter(wanted))  # gets the same current in both

    def error(emitted):
        return (emitted[first].mean(0) - wanted[first]).square().mean()

    assert error(chosen) <= error(largest)
    assert output_error(snn, snn, x) < 1.1 * output_error(other, other, x)
    for neuron, full in zip(snn.neurons.values(), other.neurons.values(), strict=True):
        assert (neuron.threshold <= full.threshold * 1.001).all()
        assert torch.allclose(neuron.v0, neuron.threshold / 2)


@pytest.mark.parametrize("model", [KINDS["if"], Neuron(hard_reset=True)])
def test_spike_norm_is_the_largest_current_of_the_spiking_net(deep, data, model):
    snn = build(deep, data[0], model)
    calibrate(snn, data[:1], [SpikeNorm(timesteps=T)], progress=False)
    emitted = emissions(snn, data[0])
    conv = snn.get_submodule("2")
    with torch.no_grad():
        current = conv(emitted["1"].flatten(0, 1))
    assert torch.allclose(snn.neurons["3"].threshold, current.max().expand(8), rtol=1e-5)
    assert snn.info["calibrated_for_timesteps"] is None


def test_spike_norm_names_a_layer_that_never_fires(deep, data):
    deep[2].weight.data.zero_()
    deep[2].bias.data.fill_(-1.0)
    snn = build(deep, data[0], Neuron())
    with pytest.warns(UserWarning, match="layer '3' never fires"):
        calibrate(snn, data, [SpikeNorm(timesteps=T)], progress=False)
    snn.check_calibrated()


def test_passes_of_a_recipe_share_a_forward(started, data, monkeypatch):
    snn, _ = started
    runs = []
    original = layerwise._Adjusting.advance
    monkeypatch.setattr(
        layerwise._Adjusting, "advance", lambda self, n: runs.append(n) or original(self, n)
    )
    together = [ChannelBias(timesteps=T), PotentialCorrection(timesteps=T)]
    calibrate(snn, data, together, progress=False)
    assert runs == [T] * len(data)


@pytest.mark.parametrize("one", ONE_T)
def test_portions_of_one_image_do_about_what_all_images_together_do(
    started, data, monkeypatch, one
):
    snn, before = started
    monkeypatch.setattr(layerwise, "PORTION_BYTES", 1)
    calibrate(snn, data, [one(timesteps=T)], progress=False)
    x = torch.cat(data)
    assert output_error(snn, before, x) < output_error(before, before, x)


def test_the_reading_of_the_source_bounds_the_portion(deep, data, monkeypatch):
    snn = build(deep, data[0], Neuron())
    assert layerwise._portion(snn, data[0], 1) > 6
    monkeypatch.setattr(layerwise, "READING_BYTES", 1)
    assert layerwise._portion(snn, data[0], 1) == 1


def test_inputs_that_depend_on_one_another_and_next_to_no_penalty(started, data):
    snn, _ = started
    snn.get_submodule("0").weight.data[1] = snn.get_submodule("0").weight.data[0]
    calibrate(snn, data, [*START, WeightCalibration(timesteps=T, ridge=1e-12)], progress=False)
    assert all(torch.isfinite(value).all() for value in snn.parameters())


@pytest.mark.parametrize("one", [ChannelBias, BiasOverTime, PotentialCorrection])
def test_rerun_after_the_potentials_are_set_gives_the_same(started, data, one):
    snn, _ = started
    results = []
    for _ in range(2):
        calibrate(snn, data, [InitialPotential(0.2), one(timesteps=T)], progress=False)
        results.append([value.clone() for value in snn.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*results, strict=True))


class Shared(nn.Module):
    """One linear layer twice, and one whose weight is used by a product too."""

    def __init__(self):
        super().__init__()
        self.twice, self.once, self.tied = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.act = nn.ModuleList(nn.ReLU() for _ in range(4))

    def forward(self, x):
        x = self.act[1](self.twice(self.act[0](x)))
        x = self.act[2](self.twice(x)) + x @ self.tied.weight
        return self.tied(self.act[3](self.once(x)))


def test_shared_weights_are_left_alone():
    model, x = Shared().eval(), torch.randn(8, 6)
    snn = build(model, x, Neuron(2, 2))
    calibrate(snn, [x], [*START, WeightCalibration(timesteps=2)], progress=False)
    assert torch.equal(snn.twice.weight, model.twice.weight)
    assert torch.equal(snn.tied.weight, model.tied.weight)
    assert not torch.equal(snn.once.weight, model.once.weight)


def test_weight_calibration_is_least_squares_for_every_kind_of_layer(everything, data):
    """With next to no penalty the residual is orthogonal to every input of every layer."""
    data = [batch.double() for batch in data]
    snn = build(everything.double(), data[0], Neuron(2, 2))
    calibrate(snn, data, START, progress=False)
    x, source = torch.cat(data), copy.deepcopy(snn)
    calibrate(snn, [x], [WeightCalibration(timesteps=2, ridge=1e-7)], progress=False)
    wanted, found = {}, {}
    source.evaluate(x, lambda node, args, value: wanted.update({str(node.target): value}))

    class Look(LayerwisePass):
        changes_weights = True

        def adjust_weights(self, view):
            with torch.enable_grad():
                view.layer.requires_grad_(True)
                error = (view.layer(view.mean_input) - wanted[view.name]).square().mean()
                error.backward()
            found[view.name] = view.layer.weight.grad.abs().max(), error

    Look(timesteps=2)(snn, [x], progress=False)
    assert set(found) == {"grouped", "depthwise", "bottleneck", "expand", "tokens", "mix", "head"}
    for name, (gradient, error) in found.items():
        assert gradient <= 2e-3 * error.sqrt() + 1e-5, name


def test_layerwise_passes_need_thresholds_first(deep, data):
    snn = build(deep, data[0], Neuron())
    for one in ONE_T:
        with pytest.raises(ConversionError, match="no positive, finite threshold"):
            calibrate(snn, data, [one(timesteps=T)], progress=False)


@pytest.mark.parametrize(
    "bad",
    [
        *ONE_T,
        SpikeNorm,
        lambda: SpikeNorm(timesteps=4, headroom=0.5),
        lambda: WeightCalibration(timesteps=4, ridge=0),
        lambda: OutputErrorThreshold(timesteps=4, factors=()),
        lambda: OutputErrorThreshold(timesteps=4, factors=(0.0,)),
        lambda: OutputErrorThreshold(timesteps=4, fraction=1.0),
        lambda: BiasOverTime(timesteps=4, gain=0),
    ],
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(ConversionError, match="expected"):
        bad()
