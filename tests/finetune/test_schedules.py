"""Learning rates, averages of weights and numbers of timesteps over a training."""

import pytest
import torch

from spikeport.convert import ConversionError
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable
from spikeport.finetune.training.optimization import Average, Optimization
from spikeport.finetune.training.timestep_schedule import TimestepSchedule


def test_the_rate_warms_up_and_falls_to_0(small):
    optimization = Optimization(rate=0.1, neuron_rate=0.2, warm_up=0.2)
    optimizer = optimization.optimizer(make_trainable(small, Surrogate()))
    schedule = optimization.schedule(optimizer, 20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[2]["lr"] == pytest.approx(2 * rates[-1])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(0.05)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_every_parameter_has_a_group_and_only_weights_decay(small):
    neuron = small.neurons["1"]
    neuron.correction.data = torch.zeros(2, neuron.channels)
    network = make_trainable(small, Surrogate(), learn_leak=True)
    optimizer = Optimization("sgd").optimizer(network)
    found = [len(group["params"]) for group in optimizer.param_groups]
    assert found == [3, 3, 2 * 3 + 1]  # the other neuron's correction of 0 rows is left out
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0, 0]


def test_the_average_follows_what_is_trained(small):
    network = make_trainable(small, Surrogate())
    average, weight = Average(network, 0.15), network.get_submodule("0").weight
    start = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1)
    # (1 + 1)/(10 + 1) is more than 0.15, and so is every later one
    for expected in (0.85, 0.9775):
        average.update(network)
        torch.testing.assert_close(average.values["0.weight"], start + expected)
    slow = Average(network, 0.99)
    with torch.no_grad():
        weight.sub_(1)
    slow.update(network)
    torch.testing.assert_close(slow.values["0.weight"], start + 2 / 11)
    assert "1.leak" not in average.values


@pytest.mark.parametrize(
    "wrong", [{"algorithm": "adam"}, {"rate": 0.0}, {"warm_up": 1.0}, {"clip": -1.0}]
)
def test_a_nonsensical_optimization_is_refused(wrong):
    with pytest.raises(ConversionError, match=next(iter(wrong))):
        Optimization(**wrong)


def test_annealing_goes_down_in_equal_stages():
    schedule = TimestepSchedule.of(1, 8, 4)
    assert [schedule.of_epoch(e, 1, 0)[0] for e in range(8)] == [4, 4, 3, 3, 2, 2, 1, 1]
    assert schedule.first == 4


def test_mixed_timesteps_are_drawn_and_drawn_again_alike():
    schedule = TimestepSchedule.of((4, 1, 2), 2)
    first = schedule.of_epoch(0, 200, seed=3)
    assert set(first) == {1, 2, 4}
    assert first == schedule.of_epoch(0, 200, seed=3)
    assert first != schedule.of_epoch(1, 200, seed=3)
    assert schedule.first == 4
    assert TimestepSchedule.of(3).of_epoch(0, 5, 0) == [3] * 5


@pytest.mark.parametrize("timesteps", [(), 0, (1, 0), 2.5])
def test_bad_timesteps_are_refused(timesteps):
    with pytest.raises(ConversionError, match="timesteps is"):
        TimestepSchedule.of(timesteps)


def test_annealing_needs_one_smaller_t():
    for timesteps in ((1, 2), 4):
        with pytest.raises(ConversionError, match="a larger one to start from"):
            TimestepSchedule.of(timesteps, anneal_from=4)
