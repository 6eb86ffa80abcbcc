"""Neuron models by name, in files, and with values that cannot be."""

import math
from dataclasses import dataclass

import pytest
from torch import nn

from spikeport.convert import KINDS, ConversionError, Neuron, build, neuron_model
from spikeport.convert.neurons import Differential, MultiThreshold, NeuronModel, SpiCalib
from spikeport.convert.neurons.kinds import describe_model, described_model
from spikeport.convert.saving.container import save


def test_a_class_brings_its_names_and_its_text():
    @dataclass(frozen=True)
    class Mine(Neuron):
        def step(self, *arguments):
            return super().step(*arguments)

        @classmethod
        def kinds(cls):
            return {"mine": cls(2, 2)}

        @classmethod
        def parse(cls, text):
            return cls(int(text[5:]), 0) if text.startswith("mine:") else None

    assert neuron_model("mine") == Mine(2, 2)
    assert neuron_model("mine:3") == Mine(3, 0)
    assert "mine" in KINDS
    assert neuron_model("if") == Neuron(1, 0)


def test_a_name_or_a_kind_belongs_to_one_class():
    class First(Neuron):
        kind = "ours"

    with pytest.raises(ConversionError, match="has the kind 'ours' of .*First; set another"):

        class Second(Neuron):
            kind = "ours"

    class Usurper(Neuron):
        @classmethod
        def kinds(cls):
            return {"if": cls()}

    with pytest.raises(ConversionError, match="'if' names .*Usurper.*choose another name"):
        neuron_model("if")


def test_a_class_that_was_defined_again_is_not_saved():
    def define():
        @dataclass(frozen=True)
        class Again(Neuron):
            pass

        return Again()

    old, new = define(), define()
    assert described_model(describe_model(new)) == new
    with pytest.raises(ConversionError, match="has been defined again"):
        describe_model(old)


class Bare(NeuronModel):
    max_up = max_down = 1

    def both_signs(self):
        return self

    def step(self, current, state, threshold, lowest=None, highest=None):
        return Neuron(1, 1).step(current, state, threshold, lowest, highest)


class Hidden(Neuron):
    def __init__(self, more):
        super().__init__(1, 1)
        object.__setattr__(self, "more", more)


@dataclass(frozen=True)
class Listed(Neuron):
    sizes: tuple = (1, 2)


@pytest.mark.parametrize(
    ("neuron", "reason"),
    [
        (Bare(), "module '1': Bare neurons cannot be saved, since the class is no dataclass"),
        (Hidden(3), "module '1': .*Hidden neurons are not made from their fields"),
        (Listed(), "module '1': Listed.sizes is .*which cannot be saved"),
    ],
)
def test_what_no_file_can_bring_back_is_not_saved(neuron, reason, images, tmp_path):
    snn = build(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), images, neuron)
    with pytest.raises(ConversionError, match=reason):
        save(snn, tmp_path / "net.snn")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"kind": "os.system"}, "kind 'os.system', which has not been defined here"),
        ({"kind": "Neuron"}, "fields"),
        ({"kind": "MultiThreshold", "exponents": 10**10, "signed": True}, "from 1 to 24"),
        ({"kind": "MultiThreshold", "exponents": math.nan, "signed": True}, "exponents is nan"),
        ({"kind": "MultiThreshold", "exponents": -3, "signed": True}, "exponents is -3"),
        ({"kind": "MultiThreshold", "exponents": 3, "signed": "no"}, "signed is 'no'"),
        ({"kind": "SpiCalib", "max_up": 10**10, "allowance": 1}, "max_up is 10000000000"),
        ({"kind": "Differential", "coder": 3}, "coder is 3"),
        ({"kind": "Differential", "coder": {"kind": "SpiCalib"}}, "fields"),
        ("Neuron", "expected its kind and fields"),
        ({"exponents": 3}, "expected its kind and fields"),
    ],
)
def test_a_file_with_impossible_neurons_is_refused(record, reason):
    with pytest.raises(ConversionError, match=reason):
        described_model(record)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Neuron(max_up=0), "max_up"),
        (lambda: Neuron(max_up=True), "max_up"),
        (lambda: Neuron(max_up=1.5), "max_up"),
        (lambda: Neuron(max_up=2**24), "max_up is 16777216; expected an int from 1 to 8388608"),
        (lambda: Neuron(max_down=-1), "max_down"),
        (lambda: Neuron(max_down=None), "max_down"),
        (lambda: Neuron(leak=0), "leak"),
        (lambda: Neuron(leak=1.1), "leak"),
        (lambda: Neuron(leak=math.nan), "leak"),
        (lambda: Neuron(leak=True), "leak"),
        (lambda: Neuron(leak="1"), "leak"),
        (lambda: Neuron(leak=None), "leak"),
        (lambda: Neuron(hard_reset="yes"), "hard_reset"),
        (lambda: MultiThreshold(0), "exponents"),
        (lambda: MultiThreshold(10**10), "exponents"),
        (lambda: MultiThreshold(3, signed=1), "signed"),
        (lambda: SpiCalib(0), "max_up"),
        (lambda: SpiCalib(allowance=-1), "allowance"),
        (lambda: SpiCalib(allowance=1.5), "allowance"),
        (lambda: Differential(Neuron(4, 0)), "both signs"),
        (lambda: Differential(Neuron(2, 2, leak=0.5)), "both signs"),
        (lambda: Differential(Neuron(2, 2, hard_reset=True)), "both signs"),
        (lambda: Differential(Differential()), "both signs"),
        (lambda: Differential(SpiCalib()), "both signs"),
    ],
)
def test_values_that_cannot_be_are_refused(make, field):
    with pytest.raises(ConversionError, match=field):
        make()


@pytest.mark.parametrize("bad", ["lif", None, ["if"], 3, "mt:", "diff:if", "1:2:3", "mt:99", "0:1"])
def test_an_unknown_neuron_is_refused_with_what_is_expected(bad):
    with pytest.raises(ConversionError, match="expected"):
        neuron_model(bad)


@pytest.mark.parametrize(
    ("model", "label"),
    [
        (Neuron(1, 0), "IF"),
        (Neuron(5, 0), "burst (0…5)"),
        (Neuron(1, 1), "signed (−1…1)"),
        (Neuron(4, 4), "multi-level (−4…4)"),
        (Neuron(3, 1), "multi-level (−1…3)"),
        (Neuron(1, 0, leak=0.9), "IF, leak 0.9"),
        (Neuron(1, 0, hard_reset=True), "IF, hard reset"),
        (MultiThreshold(4), "multi-threshold (±1…±8)"),
        (MultiThreshold(3, signed=False), "multi-threshold (1…4)"),
        (MultiThreshold(1), "multi-threshold (±1)"),
        (Differential(Neuron(2, 2)), "differential multi-level (−2…2)"),
        (SpiCalib(5), "SpiCalib (−1…5)"),
        (SpiCalib(5, 2), "SpiCalib (−1…5), allowance 2"),
    ],
)
def test_labels(model, label):
    assert model.label == label
