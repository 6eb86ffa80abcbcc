"""What rows of the table claim of their operations, tried on the calls of their examples.

What they claim of time and of spikes is tried on converted networks, see ``stating_verbs``.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from test_rows import MORE
from torch import Tensor, fx, nn

from spikeport.convert.graph.nodes import call_node, module_of
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.operation import Operation
from spikeport.convert.graph.operations.table import operation_name
from spikeport.convert.tracing.tracer import trace
from spikeport.scripts.coverage.row_networks import Form, network


@dataclass
class Tried:
    """One call of an operation, in the network around an example of its row.

    Attributes:
        form: the way in which the operation is written.
        call: with the values of all nodes.
        source: the tensor that it reads first.
        several: whether it reads others.
    """

    form: Form
    call: Call
    source: fx.Node
    several: bool

    @property
    def row(self) -> Operation:
        """The operation's."""
        return self.form.row

    @property
    def x(self) -> Tensor:
        """The value of the tensor that it reads first."""
        return self.call.values[self.source]

    def __call__(self, x: Tensor) -> Any:
        """The first result for another value of the tensor that it reads first."""
        values = {**self.call.values, self.source: x.clone()}
        return _first(self.call.evaluated(values.__getitem__))

    def channels_after(self, axis: int, result: Tensor) -> int:
        """Where the row says that the channels are that stood on an axis of ``x``."""
        return self.row.channels(self.call, axis, self.x.shape, result.shape)


@torch.no_grad()
def _tried(form: Form) -> Tried | None:
    """The call; None where it reads no tensor, as arithmetic on sizes."""
    made = network(form)
    assert made is not None
    graph, root = trace(made[0], (made[1],))
    values: dict[fx.Node, Any] = {}
    found = None
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = made[1]
        elif node.op != "output":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = call_node(root, node, args, kwargs)
            if node.op.startswith("call"):
                node.meta["op"] = operation_name(node, module_of(node, root))
                found = node if node.meta["op"] == form.row.name else found
    read = [n for n in found.all_input_nodes if isinstance(values[n], Tensor)] if found else []
    if not read:
        return None
    return Tried(form, form.row.call(found, root, values), read[0], len(read) > 1)


@pytest.fixture(scope="module")
def calls() -> list[Tried]:
    """One of each example, and of each layer."""
    return [each for form in MORE.values() if (each := _tried(form)) is not None]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (tuple, list)) else value


def _varying(value: Tensor) -> list[int]:
    """The dimensions, but for the first, along which a value is not constant."""
    return [
        dim
        for dim in range(1, value.ndim)
        if value.shape[dim] and not torch.equal(value, value.narrow(dim, 0, 1).expand_as(value))
    ]


def _along(axis: int, like: Tensor) -> Tensor:
    """1, 2, 3, … along an axis."""
    shape = [-1 if dim == axis else 1 for dim in range(like.ndim)]
    return torch.arange(1.0, like.shape[axis] + 1).view(shape).expand_as(like)


@torch.no_grad()
def test_channels_stand_where_a_row_says(calls):
    """Numbers that stand for channels, and end up on one axis, end up on the one it says."""
    checked, wrong = set(), []
    for each in calls:
        if not (each.row.spikes.moves or each.row.spikes.selects) or each.several:
            continue
        for axis in {1, each.x.ndim - 1}:
            out = each(_along(axis, each.x))
            found = _varying(out)
            if len(found) != 1 or out.ndim == 2:
                continue
            checked.add(each.row.name)
            if each.channels_after(axis, out) != found[0]:
                said = each.channels_after(axis, out)
                wrong.append(f"{each.form}: from {axis} to {found[0]}, not to {said}")
    assert not wrong
    assert len(checked) > 20


@torch.no_grad()
def test_a_bias_stands_along_the_channels_of_its_layer(calls):
    checked, wrong = set(), []
    for each in calls:
        bias = getattr(each.call.module, "bias", None)
        if not isinstance(bias, nn.Parameter) or bias.ndim != 1:
            continue
        before = each(each.x)
        more = torch.arange(1.0, len(bias) + 1)
        bias += more
        found = _varying((each(each.x) - before).round())
        bias -= more
        checked.add(each.row.name)
        if [each.channels_after(1, before)] != found:
            wrong.append(f"{each.form}: {each.channels_after(1, before)}, not {found}")
    assert not wrong
    assert {"conv2d", "linear", "batch_norm", "layer_norm"} <= checked


@torch.no_grad()
def test_identities_return_what_they_are_given(calls):
    identities = [each for each in calls if each.row.identity]
    assert len(identities) > 10
    assert not [each.form for each in identities if not torch.equal(each(each.x), each.x)]


@torch.no_grad()
def test_activations_are_the_clamps_that_they_are_called(calls):
    spans = [(each, each.row.activation(each.call)) for each in calls if each.row.activation]
    clamps = [(each, span) for each, span in spans if span is not None]
    assert len(clamps) > 8
    for each, (low, high) in clamps:
        x = 10 * torch.randn_like(each.x)
        assert torch.equal(each(x), x.clamp(low, high)), each.form


@torch.no_grad()
def test_factors_on_channels_come_through_operations_by_channel(calls):
    by_channel = [each for each in calls if each.row.by_channel]
    assert len(by_channel) > 20
    for each in by_channel:
        factor = _along(1, each.x)
        plain, scaled = each(each.x), each(each.x * factor)
        assert torch.allclose(scaled, plain * _along(1, plain), atol=1e-5), each.form


@torch.no_grad()
def test_comparisons_are_true_on_the_side_that_they_name(calls):
    compared = [each for each in calls if each.row.compares]
    assert len(compared) == 4
    for each in compared:
        large = torch.full_like(each.x, 100.0)
        assert bool(each(large).all()) == (each.row.compares == "above"), each.form
        assert bool(each(-large).all()) == (each.row.compares == "below"), each.form


@torch.no_grad()
def test_what_is_made_from_sizes_is_filled_with_the_number_named(calls):
    filled = [each for each in calls if each.row.filled_with is not None]
    assert len(filled) > 5
    for each in filled:
        number = each.row.filled_with
        number = each.call.argument(number) if isinstance(number, str) else number
        assert bool((each(each.x) == number).all()), each.form
