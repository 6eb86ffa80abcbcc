"""Every verb on a network around every operation of the table, however the operation is written."""

import functools
from collections import defaultdict

import pytest
import torch
from torch import nn
from verbs import run_all

from spikeport.convert import Neuron, build
from spikeport.convert.graph.operations import table
from spikeport.convert.saving.container import load, save
from spikeport.scripts.coverage.row_networks import Form, forms, network
from spikeport.zoo.pipeline import to_snn

# each takes as long as all others together, and does not depend on the operation more than they
SLOW = ("cost", "inspect", "report", "encodings", "float64")


FORMS = {str(form): form for form in forms()}


@functools.cache
def taken(name: str) -> bool:
    """Whether torch takes a form."""
    return network(FORMS[name]) is not None


def first_of_each(with_layers: bool) -> dict[str, Form]:
    """The first way in which torch takes each example; with its layers, every layer too.

    Of functions that become layers, the first function and the first layer.
    """
    found: dict[str, Form] = {}
    seen: set[tuple[object, ...]] = set()
    for name, form in FORMS.items():
        layer = isinstance(form.apply, type)
        lifted = form.row.lift is not None and not layer
        example = (form.row.name, form.name.partition("#")[2], lifted)
        key = (*example, form.name) if layer and with_layers else example
        if key not in seen and taken(name):
            found[name] = form
            seen.add(key)
            seen.add(example)
    return found


CHOSEN, MORE = first_of_each(False), first_of_each(True)


def run(form: Form, skip: tuple[str, ...]) -> None:
    made = network(form)
    assert made is not None
    model, x = made
    run_all(to_snn(model, [x], neuron="multi-level", progress=False), model, x, skip=skip)


@pytest.mark.filterwarnings("ignore:.*never fires")
@pytest.mark.parametrize("name", CHOSEN)
def test_every_verb_holds(name):
    run(CHOSEN[name], SLOW)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*never fires")
@pytest.mark.parametrize("name", MORE)
def test_every_verb_holds_for_every_layer(name):
    run(MORE[name], ())


@torch.no_grad()
def test_every_layer_is_saved(tmp_path):
    layers = [f for f in MORE.values() if isinstance(f.apply, type) or f.row.lift is not None]
    assert len(layers) > 100
    for form in layers:
        made = network(form)
        assert made is not None
        model, x = made
        net = build(model, x, Neuron(4, 4))
        save(net, tmp_path / "net.snn")
        assert torch.equal(load(tmp_path / "net.snn").analog(x), net.analog(x)), form


class Beside(nn.ModuleDict):
    """Networks that read the same input, in one: they are converted together, which is quicker."""

    def forward(self, x):
        return {name: network(x) for name, network in self.items()}


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_every_spelling_is_read_as_it_is_computed():
    alike, wrong, read = defaultdict(list), [], 0
    for name, form in FORMS.items():
        if taken(name):  # else torch has no such form
            alike[form.example.shape].append(form)
    for group in alike.values():
        for start in range(0, len(group), 10):
            some = group[start : start + 10]
            made = [network(form) for form in some]
            x = made[0][1]
            together = Beside({f"f{index}": model for index, (model, _) in enumerate(made)})
            found = build(together.eval(), x, Neuron(4, 4)).analog(x)
            for form, (model, _), answer in zip(some, made, found.values(), strict=True):
                read, expected = read + 1, model(x)
                if (answer - expected).abs().max() > 1e-4 * expected.abs().max():
                    wrong.append(str(form))
    assert not wrong
    assert read > 500


def test_every_operation_that_may_change_in_time_has_an_example():
    # along the batch; of torchvision; of complex numbers
    without = {"vstack", "t", "masked_scatter", "stochastic_depth", "view_as_real"}
    ours = [row for row in table.rows() if row.name not in table.REGISTERED]  # by other tests
    acting = {row.name for row in ours if row.in_time not in ("shape", "fixed")}
    shown = {form.row.name for form in CHOSEN.values()}
    assert acting - shown == without
