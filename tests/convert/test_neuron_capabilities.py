"""No capability is inherited by another update; a class of one's own, from its file to a run."""

import math
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from spikeport.calibration.level_budget import LevelBudget
from spikeport.convert import ConversionError, Neuron
from spikeport.convert.neurons import (
    MODELS,
    Capabilities,
    Differential,
    MultiThreshold,
    NeuronLayer,
)
from spikeport.convert.neurons.kinds import describe_model
from spikeport.convert.neurons.layer import levels_per_timestep
from spikeport.convert.neurons.rules import NativeRule
from spikeport.convert.saving.container import load, save
from spikeport.convert.simulation.input_encoding import TimeToFirstSpike
from spikeport.cpu.loader import why_unavailable
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable
from spikeport.report.costing.neurobench import _ternary_layers
from spikeport.report.inspecting.layer_errors import beyond

NAMES = [name for name in vars(Capabilities) if not name.startswith("_")]
OWN = [
    (cls, name) for cls in MODELS.values() for name in NAMES if name in vars(cls)
]  # what a class declares


def other_step(self, current, state, threshold, lowest=None, highest=None):
    return super(type(self), self).step(current, state, threshold, lowest, highest)


def mixed(cls):
    return type("Mixed", (type("Mixin", (), {"step": other_step}), cls), {})


CHANGES = {
    "step": lambda cls: type("Changed", (cls,), {"step": other_step}),
    "a grandchild": lambda cls: type("Child", (type("Changed", (cls,), {"step": other_step}),), {}),
    "a mixture": mixed,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("cls", "name"), OWN, ids=lambda value: getattr(value, "__name__", value))
def test_another_update_inherits_no_capability(cls, name, change):
    changed = CHANGES[change](cls)
    assert changed.step is other_step
    found = [vars(each)[name] for each in changed.__mro__ if name in vars(each)]
    assert found[0] is vars(Capabilities)[name]


@pytest.mark.parametrize(
    ("cls", "helper"),
    [(Neuron, "count"), (MultiThreshold, "count"), (MultiThreshold, "toward_zero")]
    + [(Differential, "_bound"), (Differential, "events")],
)
def test_another_part_of_the_update_is_another_update(cls, helper):
    changed = type("Changed", (cls,), {helper: lambda self, *_: None})
    assert changed.native_rule is Capabilities.native_rule
    assert changed.packings == ("packet",)
    assert not changed.lossless


@pytest.mark.parametrize("cls", MODELS.values())
def test_the_same_update_keeps_what_it_can_do(cls):
    same = type("Same", (cls,), {"__doc__": "With another name, and a method of its own.", "f": 1})
    signs = type("Signs", (cls,), {"both_signs": lambda self: self})
    for name in NAMES:
        assert getattr(same, name) == getattr(signs, name) == getattr(cls, name) or (
            name in ("kinds", "parse")  # bound to the class
        )


def test_a_changed_class_declares_for_itself():
    class Careful(Neuron):
        lossless = True
        levels: int = 3

        def step(self, *arguments):
            return super().step(*arguments)

    class Child(Careful):
        ternary = True

    assert Careful(1, 1).lossless
    assert Child(1, 1).lossless
    assert Careful(1, 1).levels == Child(1, 1).levels == 3
    assert not Careful(1, 1).ternary
    assert Child(1, 1).ternary
    assert Child(1, 1).native_rule is Careful(1, 1).staircase() is None


def test_the_defaults_promise_nothing():
    plain = type("Changed", (Neuron,), {"step": other_step})(2, 2)
    assert (plain.levels, plain.native_rule, plain.staircase()) == (None, None, None)
    assert (plain.summed(3), plain.correction(torch.ones(1))) == (None, None)
    assert plain.reach(4) == (-math.inf, math.inf)
    assert plain.events_of(torch.tensor([0.0, 2.5]), "packet").tolist() == [0, 1]
    flags = ("lossless", "takes_back", "ternary", "time_to_first_spike", "sends_corrections")
    assert not any(getattr(plain, name) for name in flags)
    assert plain.label == "Changed(max_up=2, max_down=2)"
    assert plain.kinds() == {}
    with pytest.raises(ConversionError, match="cannot be packed as 'unary'; expected 'packet'"):
        plain.events_of(torch.ones(1), "unary")
    with pytest.raises(ConversionError, match="Changed, which declares no with_levels"):
        plain.with_levels(2)
    with pytest.raises(ConversionError, match="Differential.coder"):
        Differential(plain)


# -- a class of a user's, with a step of its own


@dataclass(frozen=True)
class Tired(Neuron):
    """Needs half a threshold more for each spike of the last timestep."""

    need: float = 0.5

    def step(self, current, state, threshold, lowest=None, highest=None):
        last = state.memory[0] if state.memory else torch.zeros_like(state.v)
        v = state.v + current
        spikes = ((v - self.need * last * threshold) / threshold).floor()
        spikes = spikes.clamp(-self.max_down, self.max_up)
        if state.total is not None and lowest is not None:
            spikes = torch.maximum(spikes, -state.total)
        total = None if state.total is None else state.total + spikes
        out = spikes * threshold
        return out, state._replace(v=v - out, total=total, time=state.time + 1, memory=(spikes,))


class Undecorated(Neuron):
    """As in FAULTS: a subclass with another step, and nothing more."""

    def step(self, current, state, threshold, lowest=None, highest=None):
        out, after = super().step(current, state, threshold, lowest, highest)
        return out / 2, after


@pytest.fixture
def model():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 4)).eval()


by_class = pytest.mark.parametrize("neuron", [Tired(1, 1), Undecorated(1, 1), Undecorated(3, 0)])


@by_class
def test_it_is_simulated_by_torch_and_the_engine_says_no(converted, model, images, neuron):
    snn, plain = converted(model, images, neuron), converted(model, images, Neuron(1, 1))
    snn.backend = plain.backend = "torch"
    expected = snn(images, 9)
    assert not torch.allclose(expected, plain(images, 9))
    snn.backend = "auto"
    assert torch.equal(snn(images, 9), expected)
    if why_unavailable() is None:
        snn.backend = "cpu"
        with pytest.raises(ConversionError, match="backend 'cpu': there is no native code for T|U"):
            snn(images, 9)


def test_a_layer_with_another_forward_is_not_native_either():
    class Other(NeuronLayer):
        def forward(self, current, state=None):
            return super().forward(current, state)

    layer = NeuronLayer(Neuron(), 1)
    assert layer.native_rule == NativeRule(1, 0)
    assert Other(Neuron(), 1).native_rule is None
    layer.forward = lambda current, state=None: None
    assert layer.native_rule is None


@by_class
def test_what_it_does_not_declare_is_refused_or_unknown(converted, model, images, neuron):
    snn = converted(model, images, neuron)
    with pytest.raises(ConversionError, match="layer '1': .*declares no staircase"):
        make_trainable(snn, Surrogate())
    with pytest.raises(ConversionError, match="layer '1' has a .* declares no with_levels"):
        LevelBudget(timesteps=4)(snn, [images])
    assert levels_per_timestep(snn.neurons.values()) == ["unknown"]
    assert set(_ternary_layers(snn).values()) == {False}
    layer = snn.neurons["1"]
    assert not beyond(layer, torch.full((1, 8, 2, 2), 1e9), 4).any()
    snn.encoding = TimeToFirstSpike(4)
    with pytest.raises(ConversionError, match="needs neurons that take back"):
        snn(images, 4)


@by_class
def test_it_is_saved_pickled_and_loaded(converted, model, images, tmp_path, neuron):
    snn = converted(model, images, neuron)
    save(snn, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn")(images, 5), snn(images, 5))
    assert pickle.loads(pickle.dumps(neuron)) == neuron
    assert describe_model(neuron)["kind"] == f"{__name__}.{type(neuron).__name__}"


FILE = """
import sys
import spikeport as sp
from spikeport.convert import ConversionError
{before}
try:
    print(sp.load(sys.argv[1]).neurons["1"].model)
except ConversionError as error:
    print(error)
"""


def test_a_file_needs_the_class_and_imports_nothing(converted, model, images, tmp_path):
    save(converted(model, images, Tired(2, 1, need=0.25)), tmp_path / "net.snn")

    def loaded(before):
        program = FILE.format(before=before)
        path = tmp_path / "program.py"
        path.write_text(program)
        command = [sys.executable, str(path), str(tmp_path / "net.snn")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert f"of the kind '{__name__}.Tired', which has not been defined here" in loaded("")
    defined = Path(__file__).read_text("utf-8")
    defined = defined[defined.index("@dataclass(frozen=True)\nclass Tired") :]
    defined = defined[: defined.index("class Undecorated")].replace(
        "    need: float", f"    kind = '{__name__}.Tired'\n    need: float"
    )
    head = "import torch\nfrom dataclasses import dataclass\nfrom spikeport import Neuron\n"
    assert loaded(head + defined).startswith("Tired(max_up=2, max_down=1")
