"""The levels of each layer under a budget of spikes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.calibration import InitialPotential, LevelBudget, MaxThreshold, calibrate
from spikeport.calibration.level_budget import best_choice, set_levels
from spikeport.convert import KINDS, ConversionError, Neuron, build
from spikeport.convert.neurons import Differential, MultiThreshold, NeuronModel

OPTIONS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(OPTIONS, min_size=1, max_size=4), st.integers(0, 20))
def test_no_combination_within_the_budget_is_better(layers, budget):
    found = best_choice(layers, budget)
    every = [
        (sum(o[0] for o in chosen), sum(o[1] for o in chosen))
        for chosen in itertools.product(*layers)
    ]
    possible = [loss for cost, loss in every if cost <= budget]
    if found is None:
        assert not possible
        return
    chosen = [options[index] for options, index in zip(layers, found, strict=True)]
    assert sum(cost for cost, _ in chosen) <= budget
    assert sum(loss for _, loss in chosen) == min(possible)


def calibrated(model, data, neuron_model):
    snn = build(model, data[0], neuron_model)
    calibrate(snn, data, [MaxThreshold(), InitialPotential(0.25)], progress=False)
    return snn


def spikes_per_neuron(snn, x, timesteps):
    spikes = neurons = 0

    def observe(name, emitted, first):
        nonlocal spikes, neurons
        neuron = snn.neurons[name]
        spikes += (emitted / neuron.per_channel(neuron.threshold, emitted[0])).abs().sum()
        neurons += emitted[0].numel() if first == 0 else 0

    with torch.no_grad():
        for _ in snn.chunks(x, timesteps, timesteps, observe):
            pass
    return float(spikes) / neurons


def test_ranges_and_starts_stay(deep, data):
    snn = calibrated(deep, data, Neuron(4, 4))
    neuron = snn.neurons["1"]
    span = neuron.threshold * 4
    set_levels(neuron, 3)
    assert (neuron.max_up, neuron.max_down) == (3, 3)
    assert torch.allclose(neuron.threshold * 3, span)
    assert torch.allclose(neuron.v0, neuron.threshold / 4)


MODELS = [
    Neuron(4, 4),
    Neuron(4, 0),
    KINDS["spicalib"],
    MultiThreshold(3),
    MultiThreshold(3, signed=False),
    Differential(),
    Differential(Neuron(4, 4)),
]


@pytest.mark.parametrize("neuron_model", MODELS, ids=repr)
def test_a_larger_budget_buys_more_levels_and_is_nearly_kept(deep, data, neuron_model):
    snn, sums = calibrated(deep, data, neuron_model), []
    x = torch.cat(data)[:16]
    for budget in (1.0, 2.0, 5.0, 100.0):
        LevelBudget(timesteps=4, budget=budget)(snn, data)
        sums.append(sum(neuron.max_up for neuron in snn.neurons.values()))
        if not neuron_model.max_down:  # what is taken back is no part of the estimate
            assert spikes_per_neuron(snn, x, 4) <= budget * 1.3
    assert sums == sorted(sums)
    assert sums[0] < sums[-1]
    assert all(neuron.max_up in (1, 2, 4, 8) for neuron in snn.neurons.values())


def test_measuring_leaves_nothing_behind(deep, data):
    snn = calibrated(deep, data, Neuron(4, 4))
    before = [value.clone() for value in snn.parameters()]
    LevelBudget(timesteps=4, budget=100.0, levels=(4,))(snn, data)
    for old, new in zip(before, snn.parameters(), strict=True):
        assert torch.allclose(old, new)


def test_a_budget_that_is_too_small_names_the_least(deep, data):
    snn = calibrated(deep, data, Neuron(4, 4))
    with pytest.raises(ConversionError, match=r"0\.001 spikes per neuron.*need 0\.\d+; raise"):
        LevelBudget(timesteps=4, budget=0.001)(snn, data)
    assert all(neuron.max_up == 4 for neuron in snn.neurons.values())


class Mine(NeuronModel):
    max_up = max_down = 1
    levels = 3

    def both_signs(self):
        return self

    def step(self, current, state, threshold, lowest=None, highest=None):
        return Neuron(1, 1).step(current, state, threshold, lowest, highest)


def test_other_kinds_and_missing_thresholds_are_refused(deep, data):
    snn = build(deep, data[0], KINDS["multi-threshold"])
    with pytest.raises(ConversionError, match="has 3, but layer '1' has a MultiThreshold with"):
        LevelBudget(timesteps=4, levels=(1, 2, 3))(snn, data)
    snn.neurons["1"].model = Mine()
    with pytest.raises(ConversionError, match="layer '1' has a Mine, which declares no"):
        LevelBudget(timesteps=4)(snn, data)
    with pytest.raises(ConversionError, match="no positive, finite threshold"):
        LevelBudget(timesteps=4)(build(deep, data[0], Neuron()), data)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: LevelBudget(),
        lambda: LevelBudget(timesteps=4, budget=0),
        lambda: LevelBudget(timesteps=4, levels=()),
        lambda: LevelBudget(timesteps=4, levels=(4, 2)),
        lambda: LevelBudget(timesteps=4, levels=(0, 2)),
        lambda: LevelBudget(timesteps=4, images=0),
    ],
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(ConversionError, match="expected"):
        bad()
