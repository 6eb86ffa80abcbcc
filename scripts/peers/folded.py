"""A converted network in the form that other tools take: thresholds of 1, spikes of 0 or 1.

Per-channel thresholds go into the weights: what feeds a neuron is divided by its threshold, what
reads it is multiplied. Only where a spike train is added to a current (a residual) is there a
multiplication left, one per value. Max pooling acts on the spikes of each timestep, as these tools
do it; Spikeport pools the running sums.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.graph.nodes import call_node
from spikeport.convert.graph.operations.table import row_of
from spikeport.convert.graph.roles import IN_TIME, emits
from spikeport.convert.neurons import NativeRule
from spikeport.scripts.peers.peer import Layer


class FoldedNetwork:
    """A network of plain IF neurons, ready for a peer's neuron layers.

    Args:
        network: converted with ``neuron="if"`` and calibrated; not modified.
        time_first: fold chunks into the batch as [t·B, ...], otherwise as [B·t, ...].

    Attributes:
        differences: what it does in another way than the converted network, for people.

    Raises:
        ConversionError: a neuron that is no plain IF, or an operation without a counterpart.
    """

    def __init__(self, network: SpikingNetwork, time_first: bool) -> None:
        self.network, self.time_first = network, time_first
        self.nodes = list(network.graph.nodes)
        self.layers: dict[fx.Node, Layer] = {}
        self.modules: dict[fx.Node, nn.Module] = {}
        self.scale: dict[fx.Node, Tensor | None] = {}  # true value = scale · value here, [C]
        self.factors: dict[tuple[fx.Node, fx.Node], Tensor] = {}  # on the way from source to user
        _require_plain(network)
        wanted = _wanted_scales(network)
        for node in self.nodes:
            self.scale[node] = self._fold(node, wanted.get(node))
        pools = sum(map(emits, self.nodes))
        self.differences = [f"{pools} max-pool(s) on the spikes of each timestep"] if pools else []
        self.last_use = {source: node for node in self.nodes for source in node.all_input_nodes}

    def _fold(self, node: fx.Node, wanted: Tensor | None) -> Tensor | None:
        """Prepare a node; returns the scale of its output."""
        source = next(iter(node.all_input_nodes), None)
        if node.meta["role"] == "neuron":
            theta = self.network.neuron(str(node.target)).threshold
            self._convert(node, node.args[0], theta)
            return theta
        if _folds_weights(node, self.network):
            layer = copy.deepcopy(self.network.get_submodule(str(node.target)))
            _scale_weights(layer, self.scale[node.args[0]], wanted)
            self.modules[node] = layer
            return wanted
        if source is not None and self.scale[source] is not None and node.meta["role"] in IN_TIME:
            passed = self._passed(node, source)
            if passed is not None:
                return passed
        for each in node.all_input_nodes:
            if node.meta["role"] != "shape":
                self._convert(node, each, wanted)
        return wanted if _is_sum(node) else None

    def _passed(self, node: fx.Node, source: fx.Node) -> Tensor | None:
        """The scale after an operation that acts on channels by themselves; None for others."""
        before, after = source.meta.get("shape"), node.meta.get("shape")
        scale, row = self.scale[source], row_of(node)
        if scale is None or row is None or len(node.all_input_nodes) > 1:
            return None
        if not before or not after:
            return None
        if row.by_channel:
            return scale
        if row.engine == "flatten" and len(after) == 2:
            return scale.repeat_interleave(after[1] // before[1])
        if row.window is not None and len(before) == 4 and after[1:2] == before[1:2]:
            return scale
        return None

    def _convert(self, user: fx.Node, source: fx.Node, to: Tensor | None) -> None:
        """Note the factor between the scale that a value has and the one its user expects."""
        scale = self.scale[source]
        if scale is to or (scale is not None and to is not None and torch.equal(scale, to)):
            return
        one = torch.ones(())
        self.factors[user, source] = (one if scale is None else scale) / (one if to is None else to)

    def use(self, make: Callable[[], Layer]) -> None:
        """Put fresh neuron layers in."""
        self.layers = {node: make() for node in self.nodes if node.meta["role"] == "neuron"}

    @torch.no_grad()
    def run(self, x: Tensor, timesteps: int, chunk: int) -> Tensor:
        """The decoded output after ``timesteps`` timesteps, [B, ...], taken ``chunk`` at a time.

        Layers that read the constant input are computed once.
        """
        static = self._static(x)
        for node, layer in self.layers.items():
            neuron = self.network.neuron(str(node.target))
            shape = (len(x), *node.meta["shape"][1:])
            v0 = (neuron.v0 / neuron.threshold).view(-1, *[1] * (len(shape) - 2))
            layer.start(v0.expand(shape))
        total = torch.zeros(())
        for begin in range(0, timesteps, chunk):
            total = total + self._advance(static, len(x), min(chunk, timesteps - begin))
        return total / timesteps

    def _static(self, x: Tensor) -> dict[fx.Node, Any]:
        values: dict[fx.Node, Any] = {}
        for node in self.nodes:
            if node.meta["role"] == "input":
                values[node] = x
            elif node.meta["role"] in ("constant", "static", "shape") and all(
                source in values for source in node.all_input_nodes
            ):
                values[node] = self._call(node, lambda source: values[source])
        return values

    def _advance(self, static: dict[fx.Node, Any], batch: int, steps: int) -> Tensor:
        """Sum of the output over the next timesteps."""
        values: dict[fx.Node, Any] = {}
        sizes = (steps, batch) if self.time_first else (batch, steps)

        def folded(source: fx.Node) -> Any:
            if source in values or source.meta["role"] in ("constant", "shape"):
                return values[source] if source in values else static[source]
            return self._repeated(static[source], steps).flatten(0, 1)

        for node in self.nodes:
            role = node.meta["role"]
            if role == "output":
                out: Tensor = folded(node.args[0]).unflatten(0, sizes)
                return out.sum(0 if self.time_first else 1)
            if role == "neuron":
                source = node.args[0]
                if source in values:
                    current = self._scaled(node, source, values[source]).unflatten(0, sizes)
                else:
                    scaled = self._scaled(node, source, static[source])
                    current = self._repeated(scaled, steps)
                values[node] = self.layers[node](current).flatten(0, 1)
            elif role in IN_TIME or (role == "shape" and node not in static):
                values[node] = self._call(node, folded)
            for source in node.all_input_nodes:
                if self.last_use[source] is node:
                    values.pop(source, None)
        raise AssertionError("a graph without an output")

    def _repeated(self, value: Any, steps: int) -> Any:
        """A static value at every timestep of a chunk, without a copy."""
        if self.time_first:
            return value.expand(steps, *value.shape)
        return value[:, None].expand(len(value), steps, *value.shape[1:])

    def _call(self, node: fx.Node, find: Callable[[fx.Node], Any]) -> Any:
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda source: self._scaled(node, source, find(source))
        )
        if node in self.modules:
            return self.modules[node](*args, **kwargs)
        return call_node(self.network, node, args, kwargs)

    def _scaled(self, user: fx.Node, source: fx.Node, value: Any) -> Any:
        factor = self.factors.get((user, source))
        if factor is None:
            return value
        return value * (factor.view(-1, *[1] * (value.ndim - 2)) if factor.ndim else factor)


def _require_plain(network: SpikingNetwork) -> None:
    for name, neuron in network.neurons.items():
        bounded = neuron._total_bounds(neuron.threshold) != (None, None)
        if bounded or neuron.native_rule != NativeRule(1, 0):
            raise ConversionError(
                f"--against: '{name}' has {neuron.model.label} neurons; other tools simulate plain "
                "IF neurons only (--neuron if, and a network without linear bottlenecks)"
            )
        if neuron.channel_dim != 1:
            raise ConversionError(f"--against: '{name}' has its channels last; only [B, C, ...]")
    for node in network.graph.nodes:
        if node.meta["role"] == "difference" and not emits(node):
            raise ConversionError(
                f"--against: '{node.meta['op']}' (node '{node.name}') acts on the running mean of "
                "its input, which other tools cannot do"
            )
        if node.op == "output" and not isinstance(node.args[0], fx.Node):
            raise ConversionError("--against: the network returns more than one tensor")


def _wanted_scales(network: SpikingNetwork) -> dict[fx.Node, Tensor]:
    """The currents that can be made in units of the threshold of the one neuron they feed."""
    wanted: dict[fx.Node, Tensor] = {}
    for node in network.graph.nodes:
        if node.meta["role"] != "neuron":
            continue
        theta = network.neuron(str(node.target)).threshold
        todo = [node.args[0]]
        while todo:
            source = todo.pop()
            summed = _is_sum(source) and _same_shapes(source)
            if len(source.users) == 1 and (summed or _folds_weights(source, network)):
                wanted[source] = theta
                todo += source.all_input_nodes if summed else []
    return wanted


def _is_sum(node: fx.Node) -> bool:
    row = row_of(node)
    return row is not None and row.engine == "add"


def _same_shapes(node: fx.Node) -> bool:
    tensors = [s for s in node.all_input_nodes if s.meta["role"] in (*IN_TIME, "static")]
    shapes = [s.meta.get("shape") for s in tensors]
    return len(tensors) == 2 == len(node.args) and shapes[0] == shapes[1] and not node.kwargs


def _folds_weights(node: fx.Node, network: SpikingNetwork) -> bool:
    row = row_of(node)
    if node.op != "call_module" or row is None or row.in_time != "weighted":
        return False
    layer: Any = network.get_submodule(str(node.target))
    if isinstance(layer, nn.Linear):
        return len(node.meta["shape"]) == 2
    return not layer.transposed


def _scale_weights(layer: Any, source: Tensor | None, output: Tensor | None) -> None:
    """Multiply by the scale of the input's channels, divide by that of the output's."""
    weight = layer.weight
    if source is not None:
        groups = getattr(layer, "groups", 1)
        by_output = source.view(groups, -1).repeat_interleave(len(weight) // groups, 0)
        weight.mul_(by_output.view(*by_output.shape, *[1] * (weight.ndim - 2)))
    if output is not None:
        weight.div_(output.view(-1, *[1] * (weight.ndim - 1)))
        if layer.bias is not None:
            layer.bias.div_(output)
