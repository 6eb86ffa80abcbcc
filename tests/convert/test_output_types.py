"""Outputs come back in the source's own containers; files can name no others than containers."""

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeport as sp
from spikeport.convert import output_types
from spikeport.convert.output_types import check_form, left_out, plain, taken_apart, typed

Pair = namedtuple("Pair", "a b")
ONE, TWO = torch.ones(2), torch.zeros(2)


@dataclass
class Result:
    """A dataclass with a container in it."""

    scores: Tensor
    more: Any = None


class Named(OrderedDict):
    """A dict of its own."""


class Odd:
    """No container."""


OUTPUTS = [
    *(ONE, (ONE, TWO), [ONE, None], {"a": ONE, "b": (TWO,)}, Pair(ONE, TWO)),
    *(OrderedDict(a=ONE), Named(a=ONE, b=Named(c=TWO)), Result(ONE, Pair(ONE, [TWO]))),
    {"a": Result(ONE), 3: [Result(TWO, {"b": ONE})]},
]


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: type(output).__name__)
def test_what_is_taken_apart_is_put_together_again(output):
    found, form = taken_apart(output)
    again = typed(found, check_form(form))
    assert type(again) is type(output)
    assert repr(again) == repr(output)
    assert repr(plain(again)) == repr(found)


def test_objects_are_left_out_and_named():
    output = {"a": ONE, "cache": Odd(), "b": Result(TWO, (Odd(), ONE))}
    found, form = taken_apart(output)
    assert found == {"a": ONE, "b": {"scores": TWO, "more": (None, ONE)}}
    assert left_out(output) == ["cache (Odd)", "b.more.0 (Odd)"]
    assert typed(found, form)["b"] == Result(TWO, (None, ONE))


@pytest.mark.parametrize(
    "name", ["subprocess:Popen", "os:system", "nowhere:Class", "builtins:exec", "torch:Tensor"]
)
def test_a_file_names_no_other_class_or_function(name):
    with pytest.warns(UserWarning, match="it is a dict"):
        assert typed({"a": ONE}, {"type": name, "inside": []}) == {"a": ONE}


def test_a_class_that_takes_other_arguments_is_a_dict():
    _, form = taken_apart(defaultdict(list, a=ONE))
    with pytest.warns(UserWarning, match="cannot be made here"):
        assert typed({"a": ONE}, form) == {"a": ONE}


@pytest.mark.parametrize(
    "form",
    [
        {"type": 3, "inside": []},
        {"inside": []},
        {"type": None, "inside": [], "fields": ["a"]},
        {"type": "a:b", "inside": [], "fields": ["import os"]},
        {"type": "a:b", "inside": [["a", {"code": 1}]]},
    ],
)
def test_forms_that_no_network_has_are_refused(form):
    with pytest.raises(ValueError, match="the form of the output"):
        check_form(form)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return Result(self.b(self.a(x).relu()), {"size": x})


@torch.no_grad()
def test_a_loaded_network_returns_the_class_where_it_is_known(tmp_path, monkeypatch):
    x = torch.rand(3, 4)
    sp.save(sp.to_snn(Net().eval(), [x], progress=False), tmp_path / "a.snn")
    loaded = sp.load(tmp_path / "a.snn")
    assert isinstance(loaded(x, 2), Result)
    monkeypatch.setattr(output_types, "_SEEN", {})
    monkeypatch.delitem(__import__("sys").modules, __name__)
    with pytest.warns(UserWarning, match="import its module first"):
        found = loaded(x, 2)
    assert found.keys() == {"scores", "more"}
