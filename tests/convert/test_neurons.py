"""Laws that hold for every kind of neuron, for any current."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.convert import KINDS, ConversionError, Neuron, NeuronLayer, neuron_model
from spikeport.convert.neurons import Differential, MultiThreshold, SpiCalib

LAW = settings(max_examples=60, deadline=None, derandomize=True)
RANGES = [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, math.inf)]
family = st.builds(Neuron, st.integers(1, 9), st.integers(0, 9))
powers = st.builds(MultiThreshold, st.integers(1, 5), st.booleans())
signed_family = st.builds(Neuron, st.integers(1, 9), st.integers(1, 9))
coders = signed_family | st.builds(MultiThreshold, st.integers(1, 5))
specs = st.one_of(
    st.sampled_from(list(KINDS.values())),
    family,
    powers,
    st.builds(Differential, coders),
    st.builds(SpiCalib, st.integers(1, 9), st.integers(0, 5)),
)


def layer(spec, span, seed, channels=3, dtype=torch.float32):
    """Neurons with random thresholds and starts, some of them outside [0, θ]."""
    generator = torch.Generator().manual_seed(seed)
    neuron = NeuronLayer(spec, channels, *span).to(dtype)
    neuron.threshold.data = (torch.rand(channels, generator=generator) * 4 + 0.05).to(dtype)
    neuron.v0.data = (torch.randn(channels, generator=generator)).to(dtype)
    rows = seed % 4
    neuron.correction.data = torch.randn(rows, channels, generator=generator).to(dtype)
    return neuron


def current(timesteps, seed, scale=3.0, dtype=torch.float32):
    """[T, 2, 3, 4, 4]."""
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(timesteps, 2, 3, 4, 4, generator=generator)
    return (noise * scale + scale / 3).to(dtype)


laws = given(specs, st.sampled_from(RANGES), st.integers(0, 10**6), st.integers(1, 40))


@LAW
@laws
def test_decode_identity(spec, span, seed, timesteps):
    neuron, drive = layer(spec, span, seed), current(timesteps, seed)
    out, state = neuron(drive)
    start = neuron.per_channel(neuron.v0, drive[0])
    added = neuron.correction[:timesteps].sum(0) / timesteps
    expected = drive.mean(0) + neuron.per_channel(added, start) - (state.v - start) / timesteps
    assert (out.mean(0) - expected).abs().max() <= 1e-4 * (1 + drive.abs().max())


@LAW
@laws
def test_emits_whole_spikes_within_its_limits(spec, span, seed, timesteps):
    neuron = layer(spec, span, seed)
    out, _ = neuron(current(timesteps, seed))
    if not isinstance(neuron.model, Differential):
        assert torch.equal(neuron.events(out, None), out)
    spikes = neuron.events(out, None) / neuron.per_channel(neuron.threshold, out[0])
    assert torch.allclose(spikes, spikes.round(), atol=1e-4)
    assert spikes.max() <= neuron.max_up + 1e-4
    assert spikes.min() >= -neuron.max_down - 1e-4


@LAW
@given(specs, st.sampled_from(RANGES), st.integers(0, 10**6), st.data())
def test_chunks_that_carry_the_state_are_one_run_bit_for_bit(spec, span, seed, data):
    neuron, drive = layer(spec, span, seed), current(24, seed)
    cuts = sorted(data.draw(st.sets(st.integers(1, 23), max_size=5)))
    whole, end = neuron(drive)
    state, parts = None, []
    for first, last in zip([0, *cuts], [*cuts, 24], strict=True):
        part, state = neuron(drive[first:last], state)
        parts.append(part)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(state.v, end.v)
    assert all(map(torch.equal, state.memory, end.memory))
    assert state.time == end.time == 24


@LAW
@laws
def test_the_decoded_value_never_leaves_the_activations_range(spec, span, seed, timesteps):
    """Thresholds from 0.05 to 4 would allow means far above 6 with up to nine spikes."""
    neuron = layer(spec, span, seed)
    out, _ = neuron(current(timesteps, seed, scale=20.0))
    times = torch.arange(1, timesteps + 1).view(-1, 1, 1, 1, 1)
    decoded = out.cumsum(0) / times
    # the count may exceed t·6/θ by the rounding margin of `step`, a thousandth of a spike
    slack = 1e-3 * neuron.threshold.max() + 1e-4
    assert decoded.max() <= neuron.high + slack
    assert decoded.min() >= neuron.low - slack


@LAW
@given(family, st.sampled_from(RANGES), st.integers(0, 10**6), st.sampled_from([1, 2, 7, 30]))
def test_with_enough_capacity_it_is_a_uniform_quantiser(spec, span, seed, timesteps):
    """A constant current that its spikes can carry decodes to its activation within θ/T."""
    neuron = layer(spec, span, seed, dtype=torch.float64)
    theta = neuron.per_channel(neuron.threshold, torch.zeros(2, 3, 4, 4))
    neuron.v0.data = neuron.threshold / 2
    neuron.correction.data = neuron.correction[:0]
    lowest = -neuron.max_down * theta if neuron.low < 0 else -5 * theta
    constant = current(1, seed, dtype=torch.float64)[0].clamp(lowest, neuron.max_up * theta)
    out, _ = neuron(constant.expand(timesteps, *constant.shape))
    error = (out.mean(0) - neuron.analog(constant)).abs()
    assert (error <= theta / timesteps + 1e-9).all()


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("span", RANGES)
def test_gradients_are_finite(spec, span):
    neuron, drive = layer(spec, span, 0), current(8, 0).requires_grad_()
    neuron.threshold.requires_grad_()
    neuron(drive)[0].square().sum().backward()
    assert torch.isfinite(drive.grad).all()
    assert torch.isfinite(neuron.threshold.grad).all()
    assert neuron.threshold.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("shape", "channel_dim"), [((2, 3), 1), ((2, 3, 5), 1), ((2, 5, 3), -1), ((2, 4, 5, 3), -1)]
)
def test_each_channel_has_its_own_threshold(shape, channel_dim):
    neuron = NeuronLayer(Neuron(), 3, channel_dim=channel_dim)
    neuron.threshold.data = torch.tensor([1.0, 2.0, 4.0])
    out, _ = neuron(torch.full((1, *shape), 5.0))
    per_channel = out[0].movedim(channel_dim, -1).reshape(-1, 3)
    assert torch.equal(per_channel, neuron.threshold.data.expand(len(per_channel), 3))


def test_a_quantity_with_both_signs_gets_as_many_spikes_down_as_up():
    assert NeuronLayer(Neuron(5, 0), 1, -math.inf).max_down == 5
    assert NeuronLayer(Neuron(5, 0), 1).max_down == 0
    assert Neuron(5, 2).levels == 8


@pytest.mark.parametrize(
    "bad",
    [
        {"max_up": 0},
        {"max_up": True},
        {"max_up": 1.5},
        {"max_down": -1},
        {"max_down": None},
        {"leak": 0},
        {"leak": 1.1},
        {"leak": math.nan},
        {"leak": True},
        {"leak": "1"},
    ],
)
def test_a_spec_that_cannot_be_is_refused(bad):
    with pytest.raises(ConversionError, match=next(iter(bad))):
        Neuron(**bad)


@pytest.mark.parametrize("bad", ["lif", None, ["if"], 3])
def test_an_unknown_neuron_is_refused_with_the_known_ones(bad):
    with pytest.raises(ConversionError, match="'burst', 'differential', 'if', 'multi-level'"):
        neuron_model(bad)


@pytest.mark.parametrize("span", [(1.0, 6.0), (-2.0, -1.0), (0.0, math.nan)])
def test_a_range_without_zero_is_refused(span):
    with pytest.raises(ConversionError, match="contain 0"):
        NeuronLayer(Neuron(), 1, *span)
