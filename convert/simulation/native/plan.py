"""The synapses that feed each neuron of a graph, in the terms of the native engine.

A neuron's current is a sum. Its parts are synapses on packed spikes (convolutions and linear
layers, also through concatenations, sums and flattening; a neuron's spikes added as they are),
currents that never change, and whatever else there is, which torch computes.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from spikeport.convert.graph.operations.table import row_of
from spikeport.convert.graph.roles import in_time
from spikeport.convert.graph.same_padding import Conv2dSame, MaxPool2dSame
from spikeport.convert.simulation.native.pools import LARGEST, window_of
from spikeport.cpu.synapses import Geometry

MOST_WEIGHTS = 2**24  # of a linear layer behind an average pool to several positions


@dataclass(frozen=True)
class Wire:
    """Spikes of ``source`` that arrive at a weighted layer, from its input channel ``first`` on.

    An average ``pool`` may lie between them.
    """

    source: fx.Node
    first: int
    pool: fx.Node | None = None


@dataclass(frozen=True)
class Weighted:
    """A convolution or linear layer whose input is made of packed spikes only."""

    node: fx.Node
    wires: tuple[Wire, ...]


@dataclass(frozen=True)
class Spikes:
    """A neuron's spikes, added as they are or with one weight per channel.

    Attributes:
        source: the neuron.
        weight: a constant, [C, 1, ...] or of one number; None for 1.
    """

    source: fx.Node
    weight: fx.Node | None = None


@dataclass(frozen=True)
class Current:
    """A value that torch computes: once if ``static``, otherwise at every timestep."""

    node: fx.Node
    static: bool


Part = Weighted | Spikes | Current


class Plan:
    """The nodes that the engine runs, and what feeds them.

    Args:
        network: a SpikingNetwork.
        left: nodes that are left to torch though the engine knows such neurons or pools, because
            of the images of a call.

    Attributes:
        packed: nodes whose values are packed spikes: neurons and max-pools.
        parts: what feeds each neuron among them.
        last_use: for each node the last node run in order that depends on its value.
    """

    def __init__(self, network: nn.Module, left: frozenset[fx.Node] = frozenset()) -> None:
        self._network, self._modules = network, dict(network.named_modules())
        nodes = list(network.graph.nodes)  # type: ignore[arg-type, union-attr]
        self._batch = next(n.meta["shape"][0] for n in nodes if n.op == "placeholder")
        self.packed: set[fx.Node] = set()
        self.parts: dict[fx.Node, list[Part]] = {}
        for node in nodes:
            if node in left:
                continue
            if node.meta["role"] == "neuron" and self._is_native(node):
                self.parts[node] = self._parts(source_of(node))
                self.packed.add(node)
            elif node.meta["role"] == "difference" and self._is_native_pool(node):
                self.packed.add(node)
        self.last_use = _last_uses(nodes)
        del self._network, self._modules, self._batch  # a plan is kept by its network

    def _is_native(self, node: fx.Node) -> bool:
        neuron: Any = self._modules[str(node.target)]
        shape = node.meta.get("shape", ())
        rank = len(shape)
        per_channel = neuron.channel_dim % max(rank, 1) == 1 and neuron.threshold.ndim == 1
        rule = neuron.native_rule
        small = rule is not None and max(rule.max_up, rule.max_down) < 256
        whole = rank in (2, 3, 4) and shape[0] in (1, self._batch)  # no frames or tokens beside it
        return whole and per_channel and small and _is_float32(neuron)

    def _is_native_pool(self, node: fx.Node) -> bool:
        if _taken_as(node) != "max_pool" or node.op != "call_module":
            return False
        pool: Any = self._modules[str(node.target)]
        plain = isinstance(pool, (nn.MaxPool1d, nn.MaxPool2d))
        plain = plain and not isinstance(pool, MaxPool2dSame)
        return plain and not pool.return_indices and source_of(node) in self.packed

    def _parts(self, node: Any) -> list[Part]:
        if not in_time(node):
            return [Current(node, True)]
        if node in self.packed:
            return [Spikes(node)]
        taken = _taken_as(node)
        if taken == "pass" and source_of(node) is not None:
            return self._parts(source_of(node))
        if taken == "add" and self._adds_alike(node):
            return self._parts(node.args[0]) + self._parts(node.args[1])
        if taken == "scale" and self._has_one_weight(node):
            return [Spikes(node.args[0], node.args[1])]
        if node.meta["role"] == "weighted" and self._has_native_weights(node):
            wires = self._wires(source_of(node), 0)
            if wires is not None and all(self._takes_pool(node, wire.pool) for wire in wires):
                return [Weighted(node, tuple(wires))]
        return [Current(node, False)]

    def _has_one_weight(self, node: fx.Node) -> bool:
        """Whether a node gives packed spikes one constant weight per channel."""
        if len(node.args) != 2 or node.kwargs or node.args[0] not in self.packed:
            return False
        source, weight = node.args
        if not isinstance(weight, fx.Node) or weight.op != "get_attr":
            return False
        shape, size = weight.meta.get("shape", []), source.meta["shape"]
        sides = [1] * (len(size) - len(shape)) + list(shape)
        return all(n == 1 or (n == size[1] and dim == 1) for dim, n in enumerate(sides))

    def _adds_alike(self, node: fx.Node) -> bool:
        """Whether a node adds two tensors of one shape, none of them made from sizes.

        Those have the batch of a chunk in time, so that there is nothing to compute once.
        """
        return (
            len(node.args) == 2
            and not node.kwargs
            and all(
                isinstance(arg, fx.Node)
                and arg.meta["role"] != "shape"
                and arg.meta.get("shape") == node.meta.get("shape")
                for arg in node.args
            )
        )

    def _has_native_weights(self, node: fx.Node) -> bool:
        layer, source = self._modules[str(node.target)], source_of(node)
        if not isinstance(source, fx.Node) or not _is_float32(layer):
            return False
        shape = source.meta.get("shape", ())
        if isinstance(layer, nn.Linear):
            return len(shape) == 2
        padded = isinstance(layer, Conv2dSame) or getattr(layer, "padding", "") not in (
            "same",
            "valid",
        )
        convolution = isinstance(layer, (nn.Conv1d, nn.Conv2d))
        return convolution and layer.padding_mode == "zeros" and padded

    def _takes_pool(self, node: fx.Node, pool: fx.Node | None) -> bool:
        """Whether a weighted layer and an average pool before it, if any, make simple synapses."""
        if pool is None:
            return True
        layer: Any = self._modules[str(node.target)]
        if isinstance(layer, nn.Linear):  # its weights are repeated for every pixel of a window
            before = math.prod(source_of(pool).meta["shape"])
            after = math.prod(pool.meta["shape"])
            return pool.meta["shape"][2:] in ([], [1, 1]) or (
                layer.weight.numel() * before // after <= MOST_WEIGHTS
            )
        plain = layer.kernel_size == layer.stride == (1, 1) and type(layer) is nn.Conv2d
        return plain and max(layer.padding) == 0

    def _wires(self, node: Any, first: int) -> list[Wire] | None:
        """The packed spikes that a tensor consists of; None if there is anything else in it."""
        if not in_time(node):
            return None
        if node in self.packed:
            return [Wire(node, first)]
        taken, shape = _taken_as(node), node.meta.get("shape")
        if taken == "pass" or self._only_reshapes(node):
            return self._wires(source_of(node), first)
        if taken == "add" and self._adds_alike(node):
            pair = [self._wires(arg, first) for arg in node.args]
            return None if None in pair else [*pair[0], *pair[1]]  # type: ignore[misc]
        if taken == "average" and self._is_side_by_side(node):
            inner = self._wires(source_of(node), first)
            if inner is None or any(wire.pool for wire in inner):
                return None
            return [replace(wire, pool=node) for wire in inner]
        listed = source_of(node)
        if taken == "concatenate" and _dim(node) in (1, 1 - len(shape)) and _is_list(listed):
            found: list[Wire] = []
            for part in listed:
                wires = self._wires(part, first)
                if wires is None:
                    return None
                found += wires
                first += part.meta["shape"][1]
            return found
        return None

    def _is_side_by_side(self, node: fx.Node) -> bool:
        """Whether the windows of an average pool of maps can be part of the synapses."""
        source = source_of(node)
        shape: Any = source.meta.get("shape", ()) if isinstance(source, fx.Node) else ()
        if len(shape) != 4:
            return False
        window = window_of(node, self._network, (shape[2], shape[3]))
        return window is not None and shape[1] * window[0] * window[1] <= LARGEST

    def _only_reshapes(self, node: fx.Node) -> bool:
        """``flatten(1)`` of a packed map."""
        source = source_of(node)
        if not isinstance(source, fx.Node) or not in_time(source):
            return False
        before, after = source.meta.get("shape"), node.meta.get("shape")
        if before is None or after is None:
            return False
        pooled = _taken_as(source) == "average" and self._is_side_by_side(source)
        one_map = source in self.packed or pooled or self._only_reshapes(source)
        flat = [before[0], math.prod(before[1:])]
        return _taken_as(node) == "flatten" and one_map and after == flat


def source_of(node: fx.Node) -> Any:
    """The first argument of a node, also if it was passed by name; None if there is none."""
    return node.args[0] if node.args else node.kwargs.get("input")


def geometry(layer: Any, size: tuple[int, int]) -> Geometry:
    """The places of a convolution's inputs, for an input of this size."""
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if isinstance(layer, nn.Conv1d):
        padding = (0, *layer.padding)
        return Geometry((1, *kernel), (1, *stride), padding, (1, *dilation))
    if not isinstance(layer, Conv2dSame):
        return Geometry(kernel, stride, layer.padding, dilation)
    totals = [
        max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    first = (totals[0] // 2, totals[1] // 2)
    return Geometry(kernel, stride, first, dilation, (totals[0] - first[0], totals[1] - first[1]))


def pool_geometry(pool: nn.MaxPool1d | nn.MaxPool2d) -> Geometry:
    """The windows of a max-pool; those of sequences have one row."""
    sides = [
        (value, value) if isinstance(value, int) else (value[0], value[-1])
        for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    ]
    if isinstance(pool, nn.MaxPool1d):
        rows = (1, 1, 0, 1)
        sides = [(row, last) for row, (_, last) in zip(rows, sides, strict=True)]
    return Geometry(*sides)


def runs_in_order(node: fx.Node) -> bool:
    """Whether a node carries state, checks something or is the output.

    All others are computed when they are needed.
    """
    return node.meta["role"] in ("neuron", "difference", "output") or "guard" in node.meta


def _last_uses(nodes: list[fx.Node]) -> dict[fx.Node, int]:
    place = {node: index for index, node in enumerate(nodes)}
    found: dict[fx.Node, int] = {}
    for node in reversed(nodes):
        uses = (place[user] if runs_in_order(user) else found[user] for user in node.users)
        found[node] = max(uses, default=place[node])
    return found


def _taken_as(node: fx.Node) -> str | None:
    """The way in which the engine takes an operation into synapses, if it does."""
    row = row_of(node)
    return row.engine if row is not None else None


def _dim(node: fx.Node) -> Any:
    return node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)


def _is_list(value: Any) -> bool:
    """Whether tensors stand side by side in the graph; ``x.chunk(2)`` is one node of several."""
    return isinstance(value, (list, tuple)) and all(isinstance(part, fx.Node) for part in value)


def _is_float32(module: nn.Module) -> bool:
    return all(
        value.dtype == torch.float32 and value.device.type == "cpu"
        for value in module.parameters(recurse=False)
    )
