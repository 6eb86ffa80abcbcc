"""Every verb on a network around every operation of the table, however the operation is written."""

import pytest
import torch
from verbs import run_all

from spikeport.convert import Neuron, build
from spikeport.convert.graph.operations import table
from spikeport.scripts.coverage.row_networks import Form, forms, network
from spikeport.zoo.pipeline import to_snn

# each takes as long as all others together, and does not depend on the operation more than they
SLOW = ("cost", "inspect", "report", "encodings", "float64")


def one_of_each() -> dict[str, Form]:
    """The first function or method that torch takes for each example, and every layer."""
    found: dict[str, Form] = {}
    seen: set[tuple[str, str]] = set()
    for form in forms():
        example = (form.row.name, form.name.partition("#")[2])
        layer = isinstance(form.apply, type)
        if (layer or example not in seen) and network(form) is not None:
            found[str(form)] = form
            if not layer:
                seen.add(example)
    return found


FORMS = {str(form): form for form in forms()}
CHOSEN = one_of_each()


def run(form: Form, skip: tuple[str, ...]) -> None:
    made = network(form)
    assert made is not None
    model, x = made
    run_all(to_snn(model, [x], neuron="multi-level", progress=False), model, x, skip=skip)


@pytest.mark.parametrize("name", CHOSEN)
def test_every_verb_holds(name):
    run(CHOSEN[name], SLOW)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_the_slow_verbs_hold_too(name):
    run(CHOSEN[name], ())


@torch.no_grad()
def test_every_spelling_is_read_as_it_is_computed():
    wrong, read = [], 0
    for name, form in FORMS.items():
        made = network(form)
        if made is None:
            continue  # torch has no such form
        model, x = made
        read += 1
        error = (build(model, x, Neuron(4, 4)).analog(x) - model(x)).abs().max()
        if error > 1e-4 * model(x).abs().max():
            wrong.append(f"{name}: off by {error:g}")
    assert not wrong
    assert read > 500


def test_every_operation_that_may_change_in_time_has_an_example():
    without = {"vstack", "t", "masked_scatter"}  # along the batch, or only of constants
    acting = {row.name for row in table.rows() if row.in_time not in ("shape", "fixed")}
    shown = {form.row.name for form in CHOSEN.values()}
    assert acting - shown == without
