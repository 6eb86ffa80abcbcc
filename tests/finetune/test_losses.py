"""Terms against numbers worked out by hand, and their sum."""

import math

import pytest
import torch
from torch.nn import functional as F

from spikeport.convert import ConversionError
from spikeport.finetune.gradient.record import NOTED, Record, joined
from spikeport.finetune.training import losses

OUTPUTS = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [0.0, 0.0]]])  # [T, B, K]
LABELS = torch.tensor([0, 1])


def record(**parts):
    empty = {name: {} for name in (*NOTED, "neurons")}
    return Record(OUTPUTS, **(empty | parts))


def target(logits=None, **activations):
    return losses.Target(LABELS, logits, activations)


def entropy(difference):
    return math.log(1 + math.exp(-difference))


def test_cross_entropy_is_that_of_the_mean():
    expected = (entropy(2) + entropy(1)) / 2
    assert float(losses.CrossEntropy()(record(), target())) == pytest.approx(expected)


def test_tet_is_the_mean_of_the_timesteps():
    expected = (entropy(1) + entropy(2) + entropy(3) + entropy(0)) / 4
    assert float(losses.TET()(record(), target())) == pytest.approx(expected)
    spread = (0 + 1 + 1 + 1 + 4 + 1 + 1 + 1) / 8
    found = losses.TET(regularization=0.25)(record(), target())
    assert float(found) == pytest.approx(0.75 * expected + 0.25 * spread)


def test_distillation_is_a_divergence_of_softened_answers():
    logits = torch.tensor([[1.0, 1.0], [0.0, 3.0]])
    p, q = F.softmax(logits / 4, 1), F.softmax(OUTPUTS.mean(0) / 4, 1)
    expected = 16 * (p * (p / q).log()).sum(1).mean()
    found = losses.Distillation(temperature=4.0)(record(), target(logits))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert float(losses.Distillation()(record(), target(OUTPUTS.mean(0)))) == pytest.approx(0)


def test_rate_matching_is_relative_to_the_activations():
    wanted = {"a": torch.tensor([[2.0], [0.0]]), "b": torch.tensor([[1.0], [1.0]])}
    rates = {"a": torch.tensor([[1.0], [0.0]]), "b": torch.tensor([[1.0], [0.0]])}
    found = losses.RateMatching()(record(rates=rates), target(None, **wanted))
    assert float(found) == pytest.approx((0.5 / 2 + 0.5 / 1) / 2)


def test_the_spike_budget_takes_what_is_beyond_it():
    spikes = {"a": torch.tensor([1.0, 0.2]), "b": torch.tensor([0.2, 0.0])}
    neurons = {"a": 1, "b": 1}
    for budget, power, expected in ((0, 1, 0.35), (0.2, 1, 0.2), (0.2, 2, 0.08)):
        term = losses.SpikeBudget(budget=budget, power=power)
        assert float(term(record(spikes=spikes, neurons=neurons), target())) == pytest.approx(
            expected
        )


def test_membranes():
    membranes = {"a": torch.tensor([0.5, 0.5]), "b": torch.tensor([1.0, 3.0])}
    found = losses.InformationLoss()(record(membranes=membranes), target())
    assert float(found) == pytest.approx((0.25 + 1) / 2)
    gaps = {"a": torch.tensor([0.5, 0.3])}
    assert float(losses.MembraneLoss()(record(gaps=gaps), target())) == pytest.approx(0.4)


def test_the_sum_is_weighted_and_its_terms_are_not():
    terms = losses.WeightedSum((losses.TET(2.0), losses.CrossEntropy(0.5)))
    total, named = terms(record(), target())
    assert float(total) == pytest.approx(2 * named["TET"] + 0.5 * named["CrossEntropy"])
    assert terms.names == ("TET", "CrossEntropy")
    assert losses.WeightedSum((losses.SpikeBudget(), losses.MembraneLoss())).statistics == {
        "spikes",
        "gaps",
    }


@pytest.mark.parametrize("terms", [(), (losses.TET(), losses.TET(0.5))])
def test_a_sum_needs_terms_of_different_kinds(terms):
    with pytest.raises(ConversionError, match="each kind once"):
        losses.WeightedSum(terms)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: losses.TET(-1.0),
        lambda: losses.TET(regularization=2.0),
        lambda: losses.Distillation(temperature=0.0),
        lambda: losses.SpikeBudget(power=3),
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ConversionError, match="expected"):
        wrong()


def test_records_of_chunks_are_means_over_all_of_them():
    parts = [record(rates={"a": torch.ones(2)}), record(rates={"a": torch.full((2,), 3.0)})]
    whole = joined(iter(parts), 1, 4)
    assert torch.equal(whole.outputs, torch.cat([OUTPUTS, OUTPUTS])[1:])
    assert torch.equal(whole.rates["a"], torch.ones(2))
