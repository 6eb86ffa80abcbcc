"""The arithmetic of an integer network: whole numbers in float32, all else in float64.

Sums of whole numbers below 2²⁴ are exact in float32, in every order. What is no whole number yet
(the input, gates, a readout's mean) is computed in float64, so that what is rounded to a unit, or
to a float32 output, does not depend on the order of its sums either, but where a value is within
10⁻¹⁵ of the middle between two.
"""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert.graph.nodes import attribute, call_node
from spikeport.convert.graph.spiking_graph import SpikingGraph

# Of a node of an integer network, in meta["numbers"]: its value is a whole number and made from
# such; or it is rounded to one. Others have none.
WHOLE, ROUNDED = "whole", "rounded"


class Precision:
    """Nodes evaluated with the dtype that makes an integer network exact.

    Args:
        network: an integer network.
    """

    def __init__(self, network: SpikingGraph) -> None:
        self._network = network
        self._wide: dict[str, nn.Module] = {}  # float64 copies of layers, by path

    def call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Evaluate a node, as ``call_node``; what is rounded is still float64."""
        if node.meta.get("numbers") == WHOLE:
            args, kwargs = _cast((args, kwargs), torch.float32)
            return call_node(self._network, node, args, kwargs)
        return self.of_means(node, args, kwargs)

    def of_means(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Evaluate a node in float64, whatever its values are at single timesteps."""
        args, kwargs = _cast((args, kwargs), torch.float64)
        if node.op == "call_module":
            return self._module(str(node.target))(*args, **kwargs)
        return call_node(self._network, node, args, kwargs)

    def finished(self, node: fx.Node, value: Any) -> Any:
        """A node's value at single timesteps in the dtype in which others read it."""
        return _cast(value, torch.float32) if node.meta.get("numbers") else value

    def _module(self, target: str) -> nn.Module:
        if target not in self._wide:
            self._wide[target] = copy.deepcopy(attribute(self._network, target)).double()
        return self._wide[target]


def precision_of(network: SpikingGraph) -> Precision | None:
    """The arithmetic of an integer network; None for others, which compute in their own dtype."""
    return Precision(network) if is_integer(network) else None


def is_integer(network: SpikingGraph) -> bool:
    """Whether ``sp.quantize`` made the network."""
    return any(node.meta.get("numbers") for node in network.graph.nodes)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map_only(
        Tensor, lambda v: v.to(dtype) if v.is_floating_point() else v, value
    )
