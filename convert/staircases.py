"""Quantised activations become neurons whose levels are theirs."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.graph.nodes import (
    attribute,
    depending_on_input,
    eliminate_dead,
    place_tensor,
    unique,
)
from spikeport.convert.graph.operations.staircase import NEARLY, Staircase
from spikeport.convert.graph.operations.table import call_of
from spikeport.convert.neurons import NeuronModel
from spikeport.convert.replace import functional_name, insert_neuron

ALIKE = 1e-5  # relative difference of two scales that are the same


def replace_staircases(graph: fx.Graph, root: nn.Module, neuron: NeuronModel) -> None:
    """Put a neuron in the place of every chain that is a staircase of its input, in place.

    The neuron gets the staircase's levels; where the staircase's steps are wider or narrower than
    they are high, a constant factor stands before it, and where no level is 0, a constant after it.
    """
    constants = {
        node: attribute(root, str(node.target)).detach()
        for node in graph.nodes
        if node.op == "get_attr"
    }
    taken: set[fx.Node] = set()
    dependent = depending_on_input(graph)
    for start in list(graph.nodes):
        if start in taken or start.op == "get_attr" or not _is_tensor(start):
            continue
        if start not in dependent:
            continue
        chain, found = _climb(start, root, constants)
        if found is not None:
            taken.update(chain)
            _put_neuron(graph, root, start, chain, found, neuron)
    eliminate_dead(graph)


def _climb(
    start: fx.Node, root: nn.Module, constants: dict[fx.Node, Tensor]
) -> tuple[list[fx.Node], Staircase | None]:
    """The longest chain from a node that is a whole staircase of it."""
    now: Staircase | None = Staircase.start(start.meta["value"].dtype)
    node, chain = start, list[fx.Node]()
    best: tuple[list[fx.Node], Staircase | None] = ([], None)
    while len(node.users) == 1:
        (node,) = node.users
        known = call_of(node, root, constants)
        if known is None or known[0].staircase is None or now is None:
            break
        row, call = known
        now = row.staircase(call, now) if row.staircase is not None else None
        if now is None:
            break
        chain.append(node)
        if now.is_whole and _is_tensor(node):
            best = list(chain), now
    return best


def _put_neuron(
    graph: fx.Graph,
    root: nn.Module,
    start: fx.Node,
    chain: list[fx.Node],
    found: Staircase,
    neuron: NeuronModel,
) -> None:
    last, found = chain[-1], found.centred()
    assert found.scale is not None
    assert found.offset is not None
    name = _name(graph, root, last)
    gain = found.gain * found.scale
    source = start
    if not bool(((gain - 1).abs() <= ALIKE).all()):  # a step is as wide as it is high
        source = _with(graph, root, operator.mul, source, last, f"{name}#gain", gain)
    # a constant current, and not another potential: the limit of many timesteps is then in the
    # middle of the steps
    current = torch.where((found.shift - 0.5).abs() > NEARLY, found.shift - 0.5, 0 * found.shift)
    source = _moved(graph, root, source, last, f"{name}#current", current * found.scale)
    low, high = found.scale * found.lowest, found.scale * found.highest
    new = insert_neuron(
        graph, root, source, last, name, neuron, float(low.min()), float(high.max())
    )
    layer: Any = root.get_submodule(name)
    layer.set_steps(_by_channel(found.scale, layer.channels))
    last.replace_all_uses_with(_moved(graph, root, new, new.next, f"{name}#offset", found.offset))


def _name(graph: fx.Graph, root: nn.Module, last: fx.Node) -> str:
    """The name of the module whose code ends the chain, if it is nothing but an activation."""
    path = str(last.meta["path"])
    called = any(node.op == "call_module" and node.target == path for node in graph.nodes)
    alone = path and not called and not list(root.get_submodule(path).children())
    return path if alone else unique(root, functional_name(last))


def _moved(
    graph: fx.Graph, root: nn.Module, source: fx.Node, before: fx.Node, name: str, by: Tensor
) -> fx.Node:
    """A value with a constant added."""
    return _with(graph, root, operator.add, source, before, name, by) if bool(by.any()) else source


def _with(
    graph: fx.Graph,
    root: nn.Module,
    function: Callable[..., Any],
    source: fx.Node,
    before: fx.Node,
    name: str,
    value: Tensor,
) -> fx.Node:
    """A node that computes with a value and a constant."""
    argument: Any = float(value) if value.numel() == 1 else None
    with graph.inserting_before(before):
        if argument is None:
            place_tensor(root, name, value)
            argument = graph.get_attr(name)
            argument.meta = {"value": value, "path": source.meta["path"]}
        new = graph.call_function(function, (source, argument))
    new.meta = {
        "value": source.meta["value"],
        "path": source.meta["path"],
        "op": function.__name__,
    }
    return new


def _by_channel(value: Tensor, channels: int) -> Tensor:
    flat = value.flatten()
    return flat.expand(channels).clone() if flat.numel() == 1 else flat


def _is_tensor(node: fx.Node) -> bool:
    value = node.meta.get("value")
    return isinstance(value, Tensor) and value.is_floating_point()
