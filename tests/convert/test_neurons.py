"""Layers of neurons of the family, and what a layer adds to a neuron model."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.convert import ConversionError, Neuron, NeuronLayer
from tests.convert.neuron_models import current, layer

LAW = settings(max_examples=60, deadline=None, derandomize=True)
FAMILY = st.builds(Neuron, st.integers(1, 9), st.integers(0, 9))
SPANS = st.sampled_from([(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, math.inf)])


@LAW
@given(
    st.builds(Neuron, st.integers(1, 9), st.integers(0, 9)),
    SPANS,
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 7, 30]),
)
def test_with_enough_capacity_it_is_a_uniform_quantiser(model, span, seed, timesteps):
    """A constant current that its spikes can carry decodes to its activation within θ/T."""
    neuron = layer(model, span, seed, dtype=torch.float64)
    theta = neuron.per_channel(neuron.threshold, torch.zeros(2, 3, 4, 4))
    neuron.v0.data = neuron.threshold / 2
    neuron.correction.data = neuron.correction[:0]
    lowest = -neuron.max_down * theta if neuron.low < 0 else -5 * theta
    constant = current(1, seed, dtype=torch.float64)[0].clamp(lowest, neuron.max_up * theta)
    out, _ = neuron(constant.expand(timesteps, *constant.shape))
    error = (out.mean(0) - neuron.analog(constant)).abs()
    assert (error <= theta / timesteps + 1e-9).all()


@pytest.mark.parametrize(
    ("shape", "channel_dim"), [((2, 3), 1), ((2, 3, 5), 1), ((2, 5, 3), -1), ((2, 4, 5, 3), -1)]
)
def test_each_channel_has_its_own_threshold(shape, channel_dim):
    neuron = NeuronLayer(Neuron(), 3, channel_dim=channel_dim)
    neuron.threshold.data = torch.tensor([1.0, 2.0, 4.0])
    out, _ = neuron(torch.full((1, *shape), 5.0))
    per_channel = out[0].movedim(channel_dim, -1).reshape(-1, 3)
    assert torch.equal(per_channel, neuron.threshold.data.expand(len(per_channel), 3))


@pytest.mark.parametrize("span", [(1.0, 6.0), (-2.0, -1.0), (0.0, math.nan)])
def test_a_range_without_zero_is_refused(span):
    with pytest.raises(ConversionError, match="contain 0"):
        NeuronLayer(Neuron(), 1, *span)
