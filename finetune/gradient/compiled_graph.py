"""A quantized network as one graph of tensors, for ``torch.compile``.

The runs of ``through_time`` read the graph of a spiking network node by node, which a compiler
cannot look through. One that sees all of a step fuses norms, sums of branches and neurons into
single passes over memory. Over time there is less to gain: the layers between neurons take most of
a step, and compiling takes longer with every timestep.
"""

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from spikeport.convert import SpikingNetwork, processes
from spikeport.convert.graph.nodes import attribute
from spikeport.convert.inputs import Input
from spikeport.finetune.gradient.record import NOTED, Record, statistics
from spikeport.finetune.neuron.compiling import compile_or_say
from spikeport.finetune.neuron.trainable import TrainableNeuron, trainable_neurons


class OneGraph:
    """``present_at_once``, compiled as a whole.

    Args:
        network: trainable.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        self.network = network
        self.compiled: dict[Any, tuple[Any, Callable[..., Any]]] = {}  # shape and function

    def present(self, x: Input, timesteps: int, wants: frozenset[str]) -> Record | None:
        """See ``present_at_once``.

        Compiling takes minutes, so each T has one graph, for batches like its first.

        Args:
            x: [B, C, ...].
            timesteps: T.
            wants: statistics for the losses.

        Returns:
            None for a batch of another shape, for several inputs, and where ``can_be_one_graph``
            says no.

        Raises:
            ConversionError: there is nothing to compile with.
        """
        if not isinstance(x, Tensor):
            return None
        key = timesteps, wants
        if key not in self.compiled:
            if not can_be_one_graph(self.network):
                return None
            graph = graph_of(self.network, timesteps, wants)
            self.compiled[key] = x.shape, compile_or_say(graph, dynamic=False)
        shape, run = self.compiled[key]
        if x.shape != shape:
            return None
        outputs, layers = run(x)
        noted: dict[str, dict[str, Tensor]] = {kind: {} for kind in NOTED}
        for name, (_, found, _) in layers.items():
            for kind, value in found.items():
                noted[kind][name] = value
        neurons = {name: number for name, (_, _, number) in layers.items()}
        return Record(outputs[None].float(), **noted, neurons=neurons)


def can_be_one_graph(network: SpikingNetwork) -> bool:
    """Whether a compiler can have the whole quantized network, and makes it faster.

    It must have one output, must not depend on the shape of the input, and its surrogate must keep
    its width; one process trains it, because norms add up over several. With neurons whose memory
    bounds their spikes the graph saves every mask for the gradient, and is slower than its layers.
    """
    *nodes, output = network.graph.nodes
    neurons = trainable_neurons(network).values()
    return (
        processes.count() == 1
        and isinstance(output.args[0], fx.Node)
        and not any("guard" in node.meta for node in nodes)
        and not any(n.bounded or n.surrogate.final_width is not None for n in neurons)
    )


def graph_of(network: SpikingNetwork, timesteps: int, wants: frozenset[str]) -> fx.GraphModule:
    """The graph: from images to outputs, [B, ...], and what ``FiringAtOnce`` gives for each layer.

    In the first timestep a difference op is its function, 1·F(m_1) − 0, so that all nodes but the
    neurons are those of the analog network.

    Args:
        network: trainable; its modules are those of the graph.
        timesteps: T.
        wants: statistics to note.
    """
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    layers: dict[str, fx.Node] = {}
    held: dict[str, Any] = {}
    for node in network.graph.nodes:
        if node.op == "output":
            graph.output((values[node.args[0]], layers))
            continue
        name = str(node.target)
        values[node] = graph.node_copy(node, values.__getitem__)
        if node.op in ("call_module", "get_attr"):
            held[name] = attribute(network, name)
        if node.meta["role"] == "neuron":
            held[name] = FiringAtOnce(network.neuron(name), timesteps, wants)
            layers[name] = values[node]
            values[node] = graph.call_function(operator.getitem, (values[node], 0))
    return fx.GraphModule(held, graph)


class FiringAtOnce(nn.Module):
    """A layer of neurons that gives the spikes of all timesteps at once.

    Args:
        neuron: a trainable one.
        timesteps: T.
        wants: statistics to note.
    """

    def __init__(self, neuron: nn.Module, timesteps: int, wants: frozenset[str]) -> None:
        super().__init__()
        assert isinstance(neuron, TrainableNeuron)
        self.neuron, self.timesteps, self.wants = neuron, timesteps, wants

    def forward(self, current: Tensor) -> tuple[Tensor, dict[str, Tensor], int]:
        """[B, ...] to what is emitted, [B, ...], its statistics, and the neurons of an image."""
        found = self.neuron.fire_at_once(current[None], self.timesteps)
        noted = statistics(self.neuron, found, self.wants)
        return found.emitted[0], noted, found.emitted[0, 0].numel()
