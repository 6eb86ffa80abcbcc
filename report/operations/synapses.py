"""How many synapses a spike reaches, and how many multiply-accumulates analog inputs cost.

A spike of a neuron costs one accumulate for every weight it meets: kernel positions inside the
stride and padding grid, times output channels per group. Average pooling is part of the synapse
(the next layer's weights absorb 1/k²), a copy (concatenation, nearest upsampling) is free, and a
sum of two spike trains delivers the spikes of both.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.nodes import call_node
from spikeport.convert.graph.ops import HOMOGENEOUS, MOVES, SLOPED, WEIGHTED
from spikeport.convert.graph.same_padding import SamePadded, pad_same
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.simulation.encoded_network import as_presented
from spikeport.convert.simulation.input_encoding import EventFrames
from spikeport.report.operations.events import pass_events

CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@dataclass
class Synapses:
    """Fan-out of every source of spikes, for one input size.

    Attributes:
        fanout: source name -> weighted layer -> accumulates per spike at each position, [C, ...].
            Sources are the neuron layers, the max-pools of spikes and an input made of spikes.
        quantum: source name -> value of one spike at each position, [C, ...]; None if the source
            has no common one (then each non-zero value counts as one spike).
        macs_once: layer -> multiply-accumulates on the constant input, per image.
        macs_per_timestep: layer -> multiply-accumulates on analog values, per image and timestep.
        source_macs: multiply-accumulates of the source network, per image.
        neurons: number of neurons.
    """

    fanout: dict[str, dict[str, Tensor]]
    quantum: dict[str, Tensor | None]
    macs_once: dict[str, float]
    macs_per_timestep: dict[str, float]
    source_macs: float
    neurons: int

    def total_fanout(self, source: str) -> Tensor | None:
        """Accumulates per spike of a source, over all layers it feeds, [C, ...]."""
        parts = list(self.fanout[source].values())
        return torch.stack(parts).sum(0) if parts else None


def count_synapses(network: SpikingNetwork, image_shape: tuple[int, ...]) -> Synapses:
    """Follow one spike from every neuron to the layers that it reaches.

    Args:
        network: converted; thresholds are read for the size of a spike.
        image_shape: [C, ...] of one input.
    """
    counter = _Counter(as_presented(network))
    with torch.enable_grad():
        counter.run(torch.zeros(1, *image_shape, device=_device(network)))
    return counter.result()


def synapse_count(layer: nn.Module, events: Tensor) -> Tensor:
    """Operations that a layer performs for ``events`` [1, C, ...] spikes at its input; a scalar."""
    if isinstance(layer, nn.Linear):
        return events.sum() * layer.out_features
    assert isinstance(layer, nn.modules.conv._ConvNd)
    size, convolve = layer.kernel_size, CONVOLUTIONS[len(layer.kernel_size)]
    # every weight counts the same, so the channels of a group may be summed first
    by_group = events[0].unflatten(0, (layer.groups, -1)).sum(1, keepdim=True)
    ones = events.new_ones(1, 1, *size)
    if layer.transposed:
        output = TRANSPOSED[len(size)](
            by_group,
            ones,
            None,
            layer.stride,
            layer.padding,
            layer.output_padding,
            1,
            layer.dilation,
        )
    else:
        padding: Any = layer.padding
        if isinstance(layer, SamePadded):
            by_group, padding = pad_same(by_group, layer, 0.0), 0
        elif layer.padding_mode != "zeros":
            pads = layer._reversed_padding_repeated_twice
            by_group, padding = F.pad(by_group, pads, layer.padding_mode), 0
        output = convolve(by_group, ones, None, layer.stride, padding, layer.dilation)
    return output.sum() * (layer.out_channels // layer.groups)


def _device(network: SpikingNetwork) -> torch.device:
    return next(network.parameters()).device


class _Counter:
    """The graph read a third way: next to each value, the number of spikes that make it up."""

    def __init__(self, network: SpikingGraph) -> None:
        self.network = network
        self.values: dict[fx.Node, Any] = {}
        self.events: dict[fx.Node, Any] = {}
        self.quanta: dict[fx.Node, Any] = {}
        self.leaves: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}
        self.found = Synapses({}, {}, {}, {}, 0.0, 0)

    def run(self, image: Tensor) -> None:
        """Visit every node in order."""
        for node in self.network.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                self.values[node] = image.to(next(self.network.parameters()).dtype)
                if node.meta["spikes"]:
                    self._new_source(node, self._input_quantum(self.values[node]))
                continue
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
            with torch.no_grad():
                if node.meta["role"] == "neuron":
                    neuron = self.network.neuron(node.target)
                    self.values[node] = neuron.analog(args[0])
                    theta = neuron.per_channel(neuron.threshold, args[0])
                    self._new_source(node, theta.expand_as(args[0]))
                    self.found.neurons += args[0].numel()
                    continue
                self.values[node] = call_node(self.network, node, args, kwargs)
            if node.meta["op"] in WEIGHTED and node.op == "call_module":
                self._count(node)
            elif node.meta["spikes"]:
                self._pass(node)

    def result(self) -> Synapses:
        """Turn the counts into fan-outs by differentiating them."""
        for layer, count in self.counts.items():
            names = list(self.leaves)
            grads = torch.autograd.grad(
                count, [self.leaves[name] for name in names], retain_graph=True, allow_unused=True
            )
            for name, grad in zip(names, grads, strict=True):
                if grad is not None and bool(grad.any()):
                    self.found.fanout[name][layer] = grad[0]
        return self.found

    def _new_source(self, node: fx.Node, quantum: Tensor | None) -> None:
        name = str(node.target) if node.op == "call_module" else node.name
        leaf = torch.ones_like(self.values[node], dtype=torch.float64).requires_grad_()
        self.leaves[name] = self.events[node] = leaf
        self.found.fanout[name] = {}
        self.found.quantum[name] = None if quantum is None else quantum[0].detach()
        self.quanta[node] = quantum

    def _input_quantum(self, image: Tensor) -> Tensor | None:
        """The value of an input spike; None where it differs from image to image."""
        encoding = self.network.encoding
        if isinstance(encoding, EventFrames) and encoding.unit is not None:
            return torch.full_like(image, encoding.unit)
        return None

    def _count(self, node: fx.Node) -> None:
        layer, source = self.network.get_submodule(node.target), node.args[0]
        name = str(node.target)
        dense = float(
            synapse_count(layer, torch.ones_like(self.values[source], dtype=torch.float64)).detach()
        )
        self.found.source_macs += dense
        if source in self.events:
            count = synapse_count(layer, self.events[source])
            self.counts[name] = self.counts[name] + count if name in self.counts else count
        else:
            where = (
                self.found.macs_once
                if node.meta["role"] == "static"
                else self.found.macs_per_timestep
            )
            where[name] = where.get(name, 0.0) + dense

    def _pass(self, node: fx.Node) -> None:
        quantum = self._quantum(node)
        if node.meta["role"] == "difference" and node.meta["op"] not in SLOPED:
            self._new_source(node, quantum)
            return
        self.events[node] = pass_events(self.network, node, self.values, self.events)
        if quantum is not None:
            self.quanta[node] = quantum

    def _quantum(self, node: fx.Node) -> Any:
        """Spike values after an op that moves or selects spikes; None after one that mixes them."""
        sources = [s for s in node.all_input_nodes if s.meta["spikes"]]
        moves = node.meta["op"] in (HOMOGENEOUS | MOVES) - SLOPED
        if not moves or any(self.quanta.get(source) is None for source in sources):
            return None
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda s: self.quanta.get(s, self.values[s])
        )
        with torch.no_grad():
            return call_node(self.network, node, args, kwargs)
