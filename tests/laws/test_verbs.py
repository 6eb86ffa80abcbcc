"""The verbs notice what they are for."""

import copy

import pytest
import torch
import verbs
from torch import nn

import spikeport as sp
from spikeport.convert.neurons import NeuronLayer
from spikeport.convert.simulation.run import Run
from spikeport.report.operations.synapses import Synapses


@pytest.fixture(scope="module")
def converted():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)),
        *(nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3)),
    ).eval()
    x = torch.randn(3, 2, 4, 4)
    return sp.to_snn(model, [x], progress=False), model, x


def failing(network, source, x, only):
    return {one.verb for one in verbs.violations(network, source, x, only=only)}


def test_another_source_is_noticed(converted):
    network, model, x = converted
    other = copy.deepcopy(model)
    other[0].weight.data[0] += 0.1
    assert failing(network, other, x, ["analog"]) == {"analog"}
    assert failing(network, model, x, ["analog"]) == set()


def test_a_state_that_is_lost_between_chunks_is_noticed(converted, monkeypatch):
    own = NeuronLayer.forward
    monkeypatch.setattr(
        NeuronLayer, "forward", lambda self, current, state=None: own(self, current)
    )
    found = failing(*converted, ["backend torch", "no folding", "backend cpu", "backend auto"])
    assert {"backend torch", "no folding"} <= found


def test_a_wrong_fan_out_is_noticed(converted, monkeypatch):
    own = Synapses.total_fanout
    monkeypatch.setattr(Synapses, "total_fanout", lambda counted, source: own(counted, source) * 2)
    assert failing(*converted, ["sweep"]) == {"sweep"}


def test_a_wrong_difference_is_noticed(converted, monkeypatch):
    own = Run._difference
    monkeypatch.setattr(Run, "_difference", lambda self, *args: 2 * own(self, *args))
    assert failing(*converted, ["no folding"]) == {"no folding"}


def test_thresholds_that_are_not_saved_are_noticed(converted, monkeypatch):
    own = sp.load

    def load(path):
        network = own(path)
        next(iter(network.neurons.values())).threshold.data.mul_(2)
        return network

    monkeypatch.setattr(sp, "load", load)
    assert failing(*converted, ["save and load"]) == {"save and load"}


def test_a_refusal_is_a_violation(converted, monkeypatch):
    def refuse(*args, **options):
        raise sp.ConversionError("not this one")

    monkeypatch.setattr(sp, "cost", refuse)
    with pytest.raises(verbs.Violations, match="verb 'cost' fails: cost: ConversionError") as said:
        verbs.run_all(*converted, skip=set(verbs.VERBS) - {"analog", "cost"})
    assert "NeuronLayer" in str(said.value), "the network is printed"


def test_a_verb_that_there_is_not():
    with pytest.raises(AssertionError, match="no such verbs"):
        verbs.violations(None, None, None, only=["fly"])


@pytest.mark.parametrize(
    ("role", "operation", "only", "said"),
    [
        ("linear", "max_pool2d", "roles", "is called linear"),
        ("linear", "max_pool2d", "decoding", "does not decode"),
        ("weighted", "max_pool2d", "roles", "is called linear"),
    ],
)
def test_a_wrong_role_is_noticed(converted, role, operation, only, said):
    network, _, x = converted
    changed = copy.deepcopy(network)
    for node in changed.graph.nodes:
        if node.meta.get("op") == operation:
            node.meta["role"] = role
    found = verbs.violations(changed, converted[1], x, only=[only])
    assert said in found[0].message


@pytest.mark.parametrize(
    ("role", "spikes", "said"),
    [("weighted", True, "is called spikes"), ("linear", False, "is not called spikes")],
)
def test_wrong_spikes_are_noticed(converted, role, spikes, said):
    network, model, x = converted
    changed = copy.deepcopy(network)
    for node in changed.graph.nodes:
        if node.meta["role"] == role:
            node.meta["spikes"] = spikes
    found = verbs.violations(changed, model, x, only=["roles"])
    assert said in found[0].message


def test_two_nodes_of_one_name_are_noticed(converted):
    network, model, x = converted
    changed = copy.deepcopy(network)
    for node in changed.graph.nodes:
        if node.meta["role"] == "weighted":
            node.meta["name"] = "layer"
    assert failing(changed, model, x, ["names"]) == {"names"}


def test_a_neuron_that_keeps_back_spikes_is_noticed(converted, monkeypatch):
    own = NeuronLayer.forward

    def lazy(self, current, state=None):
        out, after = own(self, 0.5 * current, state)
        return out, after

    monkeypatch.setattr(NeuronLayer, "forward", lazy)
    assert failing(*converted, ["decoding"]) == {"decoding"}
