"""A run that keeps what every node of the graph emits."""

from typing import Any

from torch import fx

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input
from spikeport.convert.simulation.run import Run


class Recorded(Run):
    """A run on torch.

    Attributes:
        found: the value of every node that changes in time, [T·B, ...], in the last chunk.
    """

    def __init__(self, network: SpikingGraph, x: Input) -> None:
        super().__init__(network, x, None)
        self.found: dict[fx.Node, Any] = {}

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        self.found[node] = super()._in_time(node, values, steps)
        return self.found[node]


def recorded(network: SpikingNetwork, x: Input, timesteps: int) -> tuple[Recorded, Any]:
    """A run of so many timesteps on torch, and the outputs at each, [T, B, ...].

    Its timesteps are one chunk.
    """
    run = Recorded(network, x)
    run.wanted = timesteps
    return run, run.advance(timesteps)
