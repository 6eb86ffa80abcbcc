"""Quantised activations become neurons whose levels are theirs."""

import operator
from typing import Any

from torch import Tensor, fx, nn

from spikeport.convert.graph.nodes import attribute, eliminate_dead, place_tensor, unique
from spikeport.convert.graph.operations.staircase import Staircase
from spikeport.convert.graph.operations.table import call_of
from spikeport.convert.neurons import NeuronModel
from spikeport.convert.replace import functional_name, insert_neuron, upstream

ALIKE = 1e-5  # relative difference of two scales that are the same


def replace_staircases(graph: fx.Graph, root: nn.Module, neuron: NeuronModel) -> None:
    """Put a neuron in the place of every chain that is a staircase of its input, in place.

    The neuron gets the staircase's levels; where the staircase's steps are wider or narrower than
    they are high, a constant factor stands before it.
    """
    constants = {
        node: attribute(root, str(node.target)).detach()
        for node in graph.nodes
        if node.op == "get_attr"
    }
    taken: set[fx.Node] = set()
    for start in list(graph.nodes):
        if start in taken or start.op == "get_attr" or not _is_tensor(start):
            continue
        if not upstream(start, lambda node: node.op == "placeholder"):
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
        if now.is_whole:
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
    last = chain[-1]
    assert found.scale is not None
    source = _scaled(graph, root, start, last, found.gain * found.scale)
    name = _name(graph, root, last)
    low, high = found.scale * found.lowest, found.scale * found.highest
    new = insert_neuron(
        graph, root, source, last, name, neuron, float(low.min()), float(high.max())
    )
    layer: Any = root.get_submodule(name)
    steps = [_by_channel(value, layer.channels) for value in (found.scale, found.shift)]
    layer.set_steps(*steps)
    last.replace_all_uses_with(new)


def _name(graph: fx.Graph, root: nn.Module, last: fx.Node) -> str:
    """The name of the module whose code ends the chain, if it is nothing but an activation."""
    path = str(last.meta["path"])
    called = any(node.op == "call_module" and node.target == path for node in graph.nodes)
    alone = path and not called and not list(root.get_submodule(path).children())
    return path if alone else unique(root, functional_name(last))


def _scaled(
    graph: fx.Graph, root: nn.Module, start: fx.Node, last: fx.Node, factor: Tensor
) -> fx.Node:
    """The current in which a step is as wide as it is high."""
    if bool(((factor - 1).abs() <= ALIKE).all()):
        return start
    argument: Any = float(factor) if factor.numel() == 1 else None
    with graph.inserting_before(last):
        if argument is None:
            name = unique(root, f"{functional_name(last)}.gain")
            place_tensor(root, name, factor)
            argument = graph.get_attr(name)
            argument.meta = {"value": factor, "path": last.meta["path"]}
        new = graph.call_function(operator.mul, (start, argument))
    new.meta = {"value": start.meta["value"], "path": last.meta["path"], "op": "mul"}
    return new


def _by_channel(value: Tensor, channels: int) -> Tensor:
    flat = value.flatten()
    return flat.expand(channels).clone() if flat.numel() == 1 else flat


def _is_tensor(node: fx.Node) -> bool:
    value = node.meta.get("value")
    return isinstance(value, Tensor) and value.is_floating_point()
