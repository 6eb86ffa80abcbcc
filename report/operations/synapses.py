"""The synapses that a spike reaches, and the multiply-accumulates that analog inputs cost.

A spike of a neuron costs one accumulate for every weight it meets: kernel positions inside the
stride and padding grid, times output channels per group. Average pooling is part of the synapse
(the next layer's weights absorb 1/k²), a copy (concatenation, nearest upsampling) is free, and a
sum of two spike trains delivers the spikes of both. What each operation does to spikes, and how
many multiply-accumulates it takes, stands in its row of the table of operations.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.nodes import attribute, call_node
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.macs import synapses
from spikeport.convert.graph.operations.operation import Operation
from spikeport.convert.graph.operations.table import call_of
from spikeport.convert.graph.roles import emits
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.simulation.encoded_network import as_presented
from spikeport.convert.simulation.input_encoding import EventFrames


@dataclass
class Synapses:
    """Fan-out of every source of spikes, and all multiply-accumulates, for one input size.

    The operations of a layer, or of an operation without a module, are counted once here, and this
    count is the one that is printed everywhere. Positions outside the input are no operations.

    Attributes:
        fanout: source name -> weighted layer -> accumulates per spike at each position, [C, ...].
            Sources are the neuron layers, the max-pools of spikes and an input made of spikes.
        rows: source name -> rows of a value that belong to one image: 1, or the number of frames or
            tokens that the network has folded into the batch. Several stand beside the channels
            in what is [C, ...] here, [rows·C, ...].
        quantum: source name -> value of one spike at each position, [C, ...]; None if the source
            has no common one (then each non-zero value counts as one spike).
        on_spikes: layer -> operations of the source network, per image, that spikes replace.
        macs_once: layer -> multiply-accumulates on the constant input, per image.
        macs_per_timestep: layer -> multiply-accumulates on analog values, per image and timestep.
        neurons: number of neurons.
    """

    fanout: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    quantum: dict[str, Tensor | None] = field(default_factory=dict)
    on_spikes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    macs_once: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    macs_per_timestep: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    neurons: int = 0

    @property
    def accumulates(self) -> float:
        """Multiply-accumulates of the source network that spikes replace, per image."""
        return sum(self.on_spikes.values())

    @property
    def once(self) -> float:
        """Multiply-accumulates on the constant input, per image."""
        return sum(self.macs_once.values())

    @property
    def each(self) -> float:
        """Multiply-accumulates on analog values, per image and timestep."""
        return sum(self.macs_per_timestep.values())

    @property
    def source_macs(self) -> float:
        """Multiply-accumulates of the source network, per image."""
        return self.accumulates + self.once + self.each

    @property
    def spike_driven(self) -> float:
        """Share that becomes accumulates, in [0, 1], of what is not computed once."""
        return self.accumulates / max(self.accumulates + self.each, 1.0)

    def total_fanout(self, source: str) -> Tensor | None:
        """Accumulates per spike of a source, over all layers it feeds, [C, ...]."""
        parts = list(self.fanout[source].values())
        return torch.stack(parts).sum(0) if parts else None


def count_synapses(network: SpikingNetwork, image_shape: tuple[Any, ...]) -> Synapses:
    """Follow one spike from every neuron to the layers that it reaches.

    Args:
        network: converted; thresholds are read for the size of a spike.
        image_shape: [C, ...] of one input; of several inputs a tuple of such shapes.
    """
    with torch.inference_mode(False), torch.enable_grad():
        counter = _Counter(as_presented(network))
        counter.run(network.blank(image_shape))
        return counter.result()


def _of_image(value: Tensor) -> Tensor:
    """[C, ...] of the value of one image, [rows, C, ...]; see ``Synapses.rows``."""
    return value[0] if len(value) == 1 else value.flatten(0, min(1, value.ndim - 1))


class _Counter:
    """The graph read a third way: next to each value, the number of spikes that make it up."""

    def __init__(self, network: SpikingGraph) -> None:
        self.network = network
        self.values: dict[fx.Node, Any] = {}
        self.events: dict[fx.Node, Any] = {}
        self.quanta: dict[fx.Node, Any] = {}
        self.leaves: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}
        self.found = Synapses()

    def run(self, image: list[Tensor]) -> None:
        """Visit every node in order."""
        given = iter(image)
        for node in self.network.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                self.values[node] = next(given)
                if node.meta["spikes"]:
                    self._new_source(node, self._input_quantum(self.values[node]))
            elif node.op == "get_attr":
                self.values[node] = attribute(self.network, str(node.target)).detach()
            elif node.meta["role"] == "neuron":
                self._neuron(node)
            else:
                self._operation(node)

    def result(self) -> Synapses:
        """Turn the counts into fan-outs by differentiating them."""
        for layer, count in self.counts.items():
            names = list(self.leaves)
            grads = torch.autograd.grad(
                count, [self.leaves[name] for name in names], retain_graph=True, allow_unused=True
            )
            for name, grad in zip(names, grads, strict=True):
                if grad is not None and bool(grad.any()):
                    self.found.fanout[name][layer] = _of_image(grad)
        return self.found

    def _neuron(self, node: fx.Node) -> None:
        neuron = self.network.neuron(str(node.target))
        current = self.values[node.args[0]]
        with torch.no_grad():
            self.values[node] = neuron.analog(current)
            value = neuron.per_channel(neuron.value, current)
        self._new_source(node, value.expand_as(current))
        self.found.neurons += current.numel()

    def _operation(self, node: fx.Node) -> None:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        with torch.no_grad():
            self.values[node] = call_node(self.network, node, args, kwargs)
        known = call_of(node, self.network, self.values)
        if known is None or node.meta["role"] == "shape":
            return
        row, call = known
        if row.macs is not None:
            self._multiply(node, row, call)
        if node.meta["spikes"]:
            self._pass(node, row, call)

    def _new_source(self, node: fx.Node, quantum: Any) -> None:
        name, value = node.meta["name"], self.values[node]
        several = isinstance(value, tuple)  # values and their places
        leaf = torch.ones_like(value[0] if several else value, dtype=torch.float64)
        self.leaves[name] = leaf.requires_grad_()
        self.events[node] = (leaf, *value[1:]) if several else leaf
        self.quanta[node] = quantum
        of_value = quantum[0] if several and quantum is not None else quantum
        self.found.fanout[name] = {}
        self.found.rows[name] = len(leaf)
        self.found.quantum[name] = None if of_value is None else _of_image(of_value.detach())

    def _input_quantum(self, image: Tensor) -> Tensor | None:
        """The value of an input spike; None where it differs from image to image."""
        encoding = self.network.encoding
        if isinstance(encoding, EventFrames) and encoding.unit is not None:
            return torch.full_like(image, encoding.unit)
        return None

    def _multiply(self, node: fx.Node, row: Operation, call: Call) -> None:
        """Count the operations of a node that multiplies."""
        assert row.macs is not None
        name, dense = layer_name(node), row.macs(call)
        if node.meta["role"] == "static":
            self.found.macs_once[name] += dense
        elif node.meta["role"] == "weighted" and call.source in self.events:
            self.found.on_spikes[name] += dense
            count = synapses(call.module, self.events[call.source])
            self.counts[name] = self.counts[name] + count if name in self.counts else count
        elif node.meta["role"] != "constant":
            self.found.macs_per_timestep[name] += dense

    def _pass(self, node: fx.Node, row: Operation, call: Call) -> None:
        """Count the spikes that come out of a node that is no neuron."""
        spiking = [source for source in node.all_input_nodes if source.meta["spikes"]]
        common = all(self.quanta.get(source) is not None for source in spiking)
        quantum = row.spikes.quantum(call, self.quanta) if common else None
        if emits(node):
            self._new_source(node, quantum)
            return
        self.events[node] = row.spikes.count(call, self.events)
        if quantum is not None:
            self.quanta[node] = quantum


def layer_name(node: fx.Node) -> str:
    """The layer that a node calls, however often it is called, or the operation's own name."""
    return str(node.target) if node.op == "call_module" else str(node.meta["name"])
