"""The analog reading of a graph, in which the value of every node can be looked at or changed."""

from collections.abc import Callable
from typing import Any

from torch import fx

from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input, tensors_of

At = Callable[[fx.Node, Any, Any, Any], Any]


class Reading(fx.Interpreter):
    """``network.analog`` with ``at(node, args, kwargs, value)`` called after each node.

    Args:
        network: converted.
        at: returns the value that the nodes after it read.
    """

    def __init__(self, network: SpikingNetwork, at: At) -> None:
        super().__init__(network, graph=network.graph)
        self.network, self.at = network, at

    def of(self, x: Input) -> Any:
        """The output for a batch, in plain containers."""
        return self.run(*tensors_of(x))

    def run_node(self, n: fx.Node) -> Any:
        """Evaluate a node, neurons as their activations."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.meta["role"] == "neuron":
            value = self.network.neuron(str(n.target)).analog(args[0])
        else:
            value = getattr(self, n.op)(n.target, args, kwargs)
        return self.at(n, args, kwargs, value)
