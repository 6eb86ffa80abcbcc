"""Currents that meet in a sum, and so need one unit."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx

from spikeport.convert.graph.operations.table import call_of
from spikeport.convert.graph.roles import IN_TIME
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.integers.layouts import channel_axis, is_quantizable


@dataclass
class Group:
    """The neurons, sums and layers whose currents have one unit per channel.

    Attributes:
        neurons: that integrate them; none for what is read out as it is.
        layers: weighted layers on spikes.
        sums: additions, and what hands a current on.
    """

    neurons: list[fx.Node] = field(default_factory=list)
    layers: list[fx.Node] = field(default_factory=list)
    sums: list[fx.Node] = field(default_factory=list)

    @property
    def members(self) -> list[fx.Node]:
        """All of them."""
        return [*self.neurons, *self.layers, *self.sums]


def groups_of(
    network: SpikingGraph, values: dict[fx.Node, Any], on_spikes: set[fx.Node]
) -> list[Group]:
    """The groups of a network; every neuron and every layer on spikes is in one of them.

    Args:
        network: whose currents.
        values: of all nodes for one image.
        on_spikes: the layers with whole weights.
    """
    parent: dict[fx.Node, fx.Node] = {}

    def find(node: fx.Node) -> fx.Node:
        while parent.setdefault(node, node) is not node:
            node = parent[node]
        return node

    for node in network.graph.nodes:
        neuron = node.meta["role"] == "neuron"
        if not neuron and not _is_sum(network, node, values):
            if node in on_spikes:
                find(node)
            continue
        axis = network.neuron(str(node.target)).channel_dim if neuron else None
        for source in node.all_input_nodes:
            joins = source in on_spikes or _is_sum(network, source, values)
            if joins and (axis is None or _fits(network, source, axis, values)):
                parent[find(source)] = find(node)
        find(node)
    found: dict[fx.Node, Group] = {}
    for node in list(parent):
        group = found.setdefault(find(node), Group())
        kind = group.neurons if node.meta["role"] == "neuron" else group.sums
        (group.layers if node in on_spikes else kind).append(node)
    return list(found.values())


def _is_sum(network: SpikingGraph, node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    """Whether a node adds currents of one shape, or hands one on as it is."""
    known = call_of(node, network, values)
    if known is None or node.meta["role"] not in IN_TIME or node.meta["spikes"]:
        return False
    shape, tensors = getattr(values[node], "shape", None), node.all_input_nodes
    alike = all(
        isinstance(values.get(one), Tensor)
        and values[one].shape == shape
        and one.meta["role"] in (*IN_TIME, "static", "input")  # there for every image
        for one in tensors
    )
    if not alike or node.kwargs:
        return False
    if known[0].engine == "add":
        return len(node.args) == 2 and all(isinstance(arg, fx.Node) for arg in node.args)
    return known[0].engine == "pass"


def _fits(network: SpikingGraph, node: fx.Node, axis: int, values: dict[fx.Node, Any]) -> bool:
    """Whether a layer's output channels are the channels of the neurons."""
    rank = values[node].ndim
    if node.op != "call_module" or not is_quantizable(network.get_submodule(str(node.target))):
        return True
    return channel_axis(network.get_submodule(str(node.target)), rank) == axis % rank
