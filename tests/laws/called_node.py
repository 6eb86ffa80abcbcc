"""A node of a converted network whose operation is called on other values than its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.nodes import call_node
from spikeport.convert.inputs import Input, tensors_of

CHANGING = ("signal", "neuron", "weighted", "linear", "difference")


class CalledNode:
    """One node, and the values that its arguments have.

    Args:
        network: the node's.
        node: calls something other than a neuron.
        values: of all nodes that it reads.

    Attributes:
        node: see above.
        sources: the nodes among its arguments that change in time, one for each place.
        given: their values.
        beside: tensors of floats among the other arguments.
    """

    def __init__(self, network: SpikingNetwork, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        self.node, self._network = node, network
        leaves, self._form = pytree.tree_flatten((node.args, node.kwargs))
        self._places = [place for place, leaf in enumerate(leaves) if is_changing(leaf)]
        self._leaves = [fx.node.map_arg(leaf, values.__getitem__) for leaf in leaves]
        self.sources = [leaves[place] for place in self._places]
        self.given = [self._leaves[place] for place in self._places]
        others = [v for place, v in enumerate(self._leaves) if place not in self._places]
        self.beside = floats(others)

    def __call__(self, given: Sequence[Any]) -> list[Tensor]:
        """The tensors of floats that it returns for other values of what changes in time."""
        leaves = list(self._leaves)
        for place, value in zip(self._places, given, strict=True):
            leaves[place] = pytree.tree_map_only(Tensor, Tensor.clone, value)
        args, kwargs = pytree.tree_unflatten(leaves, self._form)
        return floats(call_node(self._network, self.node, args, kwargs))

    def random(self, seed: int) -> list[Any]:
        """Normal random numbers of both signs in the places of ``given``; integers stay."""
        generator = torch.Generator().manual_seed(seed)

        def drawn(value: Tensor) -> Tensor:
            if not value.is_floating_point():
                return value
            return torch.randn(value.shape, generator=generator, dtype=value.dtype)

        return pytree.tree_map_only(Tensor, drawn, self.given)


def is_changing(node: Any) -> bool:
    """Whether an argument is a node that changes from timestep to timestep."""
    return isinstance(node, fx.Node) and node.meta["role"] in CHANGING


def called_nodes(network: SpikingNetwork, x: Input) -> Iterator[CalledNode]:
    """All nodes that change in time, but for neurons, with the analog values for an input."""
    given = iter(tensors_of(network.take_apart(x).x))
    values = {node: next(given) for node in network.graph.nodes if node.op == "placeholder"}
    network.evaluate(x, lambda node, args, value: values.update({node: value}))
    for node in network.graph.nodes:
        if node.meta["role"] in ("weighted", "linear", "difference"):
            yield CalledNode(network, node, values)


def floats(value: Any) -> list[Tensor]:
    """The tensors of floats of a structure."""
    leaves = pytree.tree_leaves(value)
    return [v for v in leaves if isinstance(v, Tensor) and v.is_floating_point()]
