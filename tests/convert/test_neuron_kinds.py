"""The kinds of neuron outside the family: what makes each of them itself."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.convert import Neuron, NeuronLayer
from spikeport.convert.neurons import Differential, MultiThreshold, SpiCalib

LAW = settings(max_examples=60, deadline=None, derandomize=True)


def one(model, theta=1.0, v0=0.0, low=0.0, high=math.inf):
    neuron = NeuronLayer(model, 1, low, high)
    neuron.threshold.data.fill_(theta)
    neuron.v0.data.fill_(v0)
    return neuron


def spikes(neuron, currents):
    return neuron(torch.tensor(currents).view(-1, 1, 1))[0].flatten().tolist()


# -- several thresholds, one spike


def test_the_largest_power_whose_three_quarters_are_reached_fires():
    neuron = one(MultiThreshold(4), low=-math.inf)
    expected = {
        0.74: 0,
        0.75: 1,
        1.49: 1,
        1.5: 2,
        2.99: 2,
        3.0: 4,
        6.0: 8,
        99.0: 8,
        -0.8: -1,
        -7: -8,
    }
    assert {v: spikes(neuron, [float(v)])[0] for v in expected} == expected


def test_a_relus_powers_take_back_no_more_than_was_sent():
    assert spikes(one(MultiThreshold(3)), [3.0, 0.0, -9.0, -9.0]) == [4, -1, -2, -1]
    assert spikes(one(MultiThreshold(3, signed=False)), [3.0, -9.0]) == [4, 0]


@LAW
@given(
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, math.inf)]),
    st.lists(st.integers(-400, 400).map(lambda n: n / 16), min_size=1, max_size=20),
)
def test_every_event_is_a_power_of_two(exponents, signed, span, currents):
    found = spikes(one(MultiThreshold(exponents, signed), 0.75, 0.25, *span), currents)
    sizes = {0.0, *(0.75 * 2**k for k in range(exponents))}
    assert {abs(value) for value in found} <= sizes


# -- corrections of a mean


@pytest.mark.parametrize("coder", [MultiThreshold(4), Neuron(8, 8), Neuron(1, 1)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.1, 2.7])
def test_corrections_of_a_constant_die_out(coder, value):
    neuron = one(Differential(coder), theta=0.5, v0=0.125)
    timesteps = 400
    out, _ = neuron(torch.full((timesteps, 1, 1), value))
    events = neuron.events(out, None).flatten() / 0.5
    late, early = events[timesteps // 2 :].abs().sum(), events[: timesteps // 2].abs().sum()
    assert late <= 6  # an integrate-and-fire neuron sends 400 * value
    assert late <= early or early == 0
    assert abs(float(out.mean()) - value) < 0.02


def test_events_are_the_corrections_also_in_a_later_chunk():
    neuron = one(Differential(MultiThreshold(4)), theta=0.3, low=-math.inf)
    drive = torch.randn(20, 2, 1, generator=torch.Generator().manual_seed(3))
    out, _ = neuron(drive)
    first, state = neuron(drive[:7])
    second, _ = neuron(drive[7:], state)
    parts = torch.cat([neuron.events(first, None), neuron.events(second, state)])
    assert torch.allclose(parts, neuron.events(out, None), atol=1e-5)
    mean = torch.zeros(2, 1)
    for time, event in enumerate(parts, start=1):  # the receiver's side
        assert torch.allclose(mean + event, out[time - 1], atol=1e-4)
        mean = mean + event / time


@LAW
@given(st.integers(0, 10**6), st.sampled_from([(0.0, 6.0), (-1.0, 1.0), (0.0, math.inf)]))
def test_bounded_corrections_are_whole(seed, span):
    neuron = one(Differential(Neuron(5, 5)), theta=0.7, low=span[0], high=span[1])
    drive = torch.randn(30, 4, 1, generator=torch.Generator().manual_seed(seed)) * 9
    out, _ = neuron(drive)
    state, mean = None, torch.zeros(4, 1)
    for time, now in enumerate(drive, start=1):
        value, state = neuron(now[None], state)
        event = (value[0] - mean) / 0.7
        assert torch.allclose(event, event.round(), atol=1e-3)
        mean = mean + (value[0] - mean) / time


# -- spikes taken back after silence


def test_silence_beyond_the_mean_interval_takes_a_spike_back():
    neuron = one(SpiCalib(5, allowance=1))
    # fires at 1..4 (mean interval 1), then the input inhibits: 2 silent timesteps, -1 at the third
    drive = [1.0] * 4 + [-1.0] * 12
    assert spikes(neuron, drive) == [1] * 4 + [0, 0, -1] * 4


def test_nothing_is_taken_back_that_was_not_sent():
    assert spikes(one(SpiCalib(5, allowance=0)), [-1.0] * 8) == [0] * 8
    assert sum(spikes(one(SpiCalib(5, allowance=0)), [2.0] + [-3.0] * 20)) == 0


def test_a_steady_neuron_is_left_alone():
    found = spikes(one(SpiCalib(5, allowance=1), v0=0.5), [0.3] * 200)
    assert min(found) == 0
    assert sum(found) == 60


def test_without_silence_it_is_a_burst_neuron():
    drive = torch.rand(30, 2, 1, generator=torch.Generator().manual_seed(0)) * 9 + 1
    burst, _ = one(Neuron(5, 0))(drive)
    assert torch.equal(one(SpiCalib(5))(drive)[0], burst)


def test_for_a_linear_quantity_it_is_the_signed_neuron():
    assert one(SpiCalib(4), low=-math.inf).model == Neuron(4, 4)
