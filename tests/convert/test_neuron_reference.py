"""The neurons against one scalar neuron in exact fractions, written from the documentation."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.convert import KINDS, Neuron, NeuronLayer

# binary fractions: floats compute with them exactly, so that equal means equal
EIGHTHS = st.integers(-80, 80).map(lambda n: n / 8)
THETAS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 0.75, 3.0])
RANGES = st.sampled_from([(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, math.inf)])
MODELS = st.builds(
    Neuron,
    st.integers(1, 6),
    st.integers(0, 6),
    st.sampled_from([1.0, 1.0, 0.5, 0.75]),
    st.booleans(),
)


def scalar_neuron(currents, theta, v0, model, low, high):
    """Signed spike counts of one neuron."""
    theta, v, total, counts = Fraction(theta), Fraction(v0), 0, []
    down = model.max_down if low == 0 else max(model.max_up, model.max_down)
    for time, now in enumerate(currents, start=1):
        v = Fraction(model.leak) * v + Fraction(now)
        whole = math.trunc(v / theta) if model.hard_reset else math.floor(v / theta)
        count = min(max(whole, -down), model.max_up)
        if high < math.inf:
            count = min(count, math.floor(Fraction(high) * time / theta) - total)
        if low > -math.inf:
            count = max(count, math.ceil(Fraction(low) * time / theta) - total)
        if model.hard_reset and count:
            v = Fraction(0)
        else:
            v -= count * theta
        total += count
        counts.append(count)
    return counts


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(EIGHTHS, min_size=1, max_size=12), THETAS, EIGHTHS, MODELS, RANGES)
def test_spikes_are_those_of_the_scalar_neuron(currents, theta, v0, model, span):
    if span[0] == 0 and model.max_down == 0:
        v0 = max(v0, 0.0)
    neuron = NeuronLayer(model, 1, *span).double()
    neuron.threshold.data.fill_(theta)
    neuron.v0.data.fill_(v0)
    out, state = neuron(torch.tensor(currents).double().view(-1, 1, 1))
    expected = scalar_neuron(currents, theta, v0, model, *span)
    assert (out.flatten() / theta).tolist() == expected
    if state.total is not None:
        assert int(state.total) == sum(expected)


def test_hard_reset_forgets_what_a_spike_left_over():
    spikes = {}
    for hard in (False, True):
        neuron = NeuronLayer(Neuron(hard_reset=hard), 1)
        neuron.threshold.data.fill_(1.0)
        spikes[hard] = neuron(torch.full((4, 1, 1), 0.75))[0].flatten().tolist()
    assert spikes == {False: [0, 1, 1, 1], True: [0, 1, 0, 1]}


@pytest.mark.parametrize("model", [Neuron(1, 1, hard_reset=True), Neuron(3, 2, 0.5, True)])
def test_rounding_of_a_current_of_zero_does_not_decide_after_a_hard_reset(model):
    """Another chunk adds weights in another order: a current of 0 comes out as ±1e-17."""
    current = torch.tensor([0.7, 0.7, 0.0, 0.0, -0.7, -0.7, 0.0, 0.7, 0.0, -1.7, 0.0, 0.0])
    current = current.double().view(-1, 1, 1)
    spikes = []
    for noise in (0.0, 1e-17, -1e-17):
        neuron = NeuronLayer(model, 1, -math.inf).double()
        neuron.threshold.data.fill_(1.0)
        spikes.append(neuron(current + noise)[0].flatten().tolist())
    assert spikes[0] == spikes[1] == spikes[2]
    assert min(spikes[0]) < 0 < max(spikes[0])


def test_leak_halves_the_potential_before_each_timestep():
    neuron = NeuronLayer(Neuron(leak=0.5), 1)
    neuron.threshold.data.fill_(1.0)
    out, state = neuron(torch.full((3, 1, 1), 0.5))
    assert out.sum() == 0
    assert state.v.item() == 0.875  # 0.5, 0.75, 0.875


def test_the_kinds_are_what_the_documentation_says():
    limits = {name: (model.max_up, model.max_down) for name, model in KINDS.items()}
    assert limits == {
        "if": (1, 0),
        "burst": (5, 0),
        "signed": (1, 1),
        "multi-level": (4, 4),
        "multi-threshold": (8, 8),
        "differential": (8, 8),
        "spicalib": (5, 1),
    }
    family = [model for model in KINDS.values() if isinstance(model, Neuron)]
    assert all(model.leak == 1 and not model.hard_reset for model in family)
    levels = {name: KINDS[name].levels for name in ("if", "signed", "multi-threshold", "spicalib")}
    assert levels == {"if": 2, "signed": 3, "multi-threshold": 9, "spicalib": 7}
