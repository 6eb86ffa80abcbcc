"""Values of a network of spike counts: in which unit they are, and whether they are whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from spikeport.convert.graph.operations.table import call_of
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import tensors_of

FINEST = 128  # spikes of several values that are added: the largest is worth so many units


@dataclass(frozen=True)
class Carried:
    """The meaning of a node's value.

    Attributes:
        unit: activation units of 1, shaped like the value for one image, [1, ...]; None where
            values are activation units themselves.
        whole: it consists of whole numbers.
    """

    unit: Tensor | None = None
    whole: bool = False


def example_values(network: SpikingGraph) -> dict[fx.Node, Any]:
    """The values of all nodes for one image, in the analog reading."""
    values: dict[fx.Node, Any] = {}
    example = network.example(1)
    places = (node for node in network.graph.nodes if node.op == "placeholder")
    values.update(zip(places, tensors_of(example), strict=False))
    network.evaluate(example, lambda node, args, value: values.__setitem__(node, value))
    return values


@torch.no_grad()
def spike_units(
    network: SpikingGraph, values: dict[fx.Node, Any], summed: Mapping[fx.Node, int]
) -> dict[fx.Node, Tensor]:
    """The value of one spike at each position of everything that consists of spikes.

    Args:
        network: with float thresholds.
        values: of all nodes for one image.
        summed: pools that add up instead of averaging, with the number of positions.

    Returns:
        By node, [1, ...] float64; spikes of several values that are added get a finer common one.
    """
    found: dict[fx.Node, Tensor] = {}
    for node in network.graph.nodes:
        if node.meta["role"] == "neuron":
            neuron, like = network.neuron(str(node.target)), values[node].double()
            found[node] = neuron.per_channel(neuron.threshold, like).expand_as(like).clone()
        elif node.meta["spikes"] and isinstance(values.get(node), Tensor):
            unit = _unit_of(network, node, values, found)
            if unit is not None and same_in_rows(unit):
                found[node] = unit / summed.get(node, 1)
    return found


def same_in_rows(unit: Tensor) -> bool:
    """Whether a unit is the same in all frames or tokens that are folded into the batch."""
    return torch.equal(unit, unit[:1].expand_as(unit))


def _unit_of(
    network: SpikingGraph,
    node: fx.Node,
    values: dict[fx.Node, Any],
    units: dict[fx.Node, Tensor],
) -> Tensor | None:
    known = call_of(node, network, values)
    sources = [source for source in node.all_input_nodes if source.meta["spikes"]]
    if known is None or not sources or not all(source in units for source in sources):
        return None
    row, call = known
    unit = row.spikes.unit(call, units)
    if unit is None and row.engine == "add":
        each = [units[source].expand(values[node].shape).abs() for source in sources]
        return torch.stack(each).amax(0) / FINEST
    return unit
