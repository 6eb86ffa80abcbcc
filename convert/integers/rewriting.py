"""The graph of a network rewritten for whole numbers.

Spikes are counts; a weighted layer on counts has whole weights, in the unit of the potential that
integrates its current; what joins such a current is brought to its unit. Everything else (the
input, gates, normalisations, softmax) is computed on activation units, as it was: what enters it is
multiplied by its unit, and what leaves it is rounded to one.
"""

import copy
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.graph.nodes import place, place_tensor, unique
from spikeport.convert.graph.operations.table import call_of
from spikeport.convert.graph.rounding import ToUnit
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.integers.carried import Carried, same_in_rows
from spikeport.convert.integers.layouts import channel_axis
from spikeport.convert.simulation.precision import ROUNDED, WHOLE

PLACE = "units"  # of what is added, in the network
LEAST_FACTOR = 16  # of spikes in a unit; a smaller one would be too far from a whole number


@dataclass(frozen=True)
class WholeLayer:
    """A weighted layer after quantisation.

    Attributes:
        weight: codes in units, shaped like the layer's.
        bias: in units, [C], or None.
        unit: of its output, [C].
        on_spikes: it reads counts; otherwise activation units.
    """

    weight: Tensor
    bias: Tensor | None
    unit: Tensor
    on_spikes: bool


class Rewriting:
    """One pass over a graph, in order; the graph is changed in place.

    Args:
        network: whose graph and layers; changed.
        values: of all nodes for one image, before.
        units: of spikes, by node; see ``spike_units``.
        layers: the quantised layers, by node.
        potentials: the unit of each neuron, [C] or shaped like its threshold, by node.
        sums: of currents, with their unit, shaped like their values for one image, by node.
        summed: pools that add up.

    Attributes:
        carried: what each node stands for now.
        analog: names of the parts that stay in activation units at every timestep.
    """

    def __init__(
        self,
        network: SpikingGraph,
        values: Mapping[fx.Node, Any],
        units: Mapping[fx.Node, Tensor],
        layers: Mapping[fx.Node, WholeLayer],
        potentials: Mapping[fx.Node, Tensor],
        sums: Mapping[fx.Node, Tensor],
        summed: Collection[fx.Node],
    ) -> None:
        self.network, self.values, self.units = network, dict(values), units
        self.layers, self.potentials, self.sums = layers, potentials, sums
        self.summed = summed
        self.carried: dict[fx.Node, Carried] = {}
        self.analog: list[str] = []
        self._kept: dict[tuple[Any, ...], fx.Node] = {}
        self._calls = Counter(n.target for n in network.graph.nodes if n.op == "call_module")

    def run(self) -> None:
        """Rewrite all nodes."""
        for node in list(self.network.graph.nodes):
            if node.op in ("placeholder", "get_attr") or node.meta["role"] == "shape":
                continue
            self._rewrite(node)
            if self.carried.get(node, Carried()).whole:
                node.meta.setdefault("numbers", WHOLE)
        self.network.graph.lint()

    def _rewrite(self, node: fx.Node) -> None:
        if node in self.layers:
            self._layer(node)
        elif node.meta["role"] == "neuron":
            unit = self._map(node.args[0], self.potentials[node], self._axis(node))
            node.args = (self._in_unit(node.args[0], unit, node), *node.args[1:])
            self.carried[node] = Carried(self.units[node], True)
        elif node in self.sums:
            unit = self.sums[node]
            node.args = tuple(self._in_unit(arg, unit, node) for arg in node.args)
            self.carried[node] = Carried(unit, True)
        elif node in self.units:
            self._spikes(node)
        elif not self._moved(node):
            self._in_activation_units(node)

    def _layer(self, node: fx.Node) -> None:
        """Give a layer its whole weights; a module of its own, if it is called more than once."""
        found, target = self.layers[node], str(node.target)
        layer: Any = self.network.get_submodule(target)
        if self._calls[node.target] > 1:
            target = unique(self.network, target)
            layer = copy.deepcopy(layer)
            place(self.network, target, layer)
            node.target = target
        layer.weight = nn.Parameter(found.weight.to(layer.weight), requires_grad=False)
        if found.bias is not None:
            layer.bias = nn.Parameter(found.bias.to(layer.weight), requires_grad=False)
        source: Any = node.args[0]
        if not found.on_spikes:
            node.args = (self._activation(source, node), *node.args[1:])
        whole = found.on_spikes and self.carried[source].whole
        unit = self._map(node, found.unit, channel_axis(layer, self.values[node].ndim))
        self.carried[node] = Carried(unit, whole)

    def _spikes(self, node: fx.Node) -> None:
        """Something that moves, adds, averages, selects or scales spikes."""
        known = call_of(node, self.network)
        assert known is not None
        row, spiking = known[0], [s for s in node.all_input_nodes if s.meta["spikes"]]
        if row.spikes.scales:
            becomes = Carried(self.units[node], self.carried[spiking[0]].whole)
            same = torch.ones(())
            node.replace_all_uses_with(self._times(spiking[0], same, node, becomes, node.name))
            return
        if row.engine == "add" and len(spiking) > 1:
            unit = self.units[node]
            args = [self._in_unit(a, unit, node) if a in spiking else a for a in node.args]
            node.args = tuple(args)
        whole = all(
            self.carried[source].whole for source in node.all_input_nodes if source in self.carried
        )
        kept = row.spikes.moves or row.spikes.selects or row.engine == "add"
        kept = kept or node in self.summed
        self.carried[node] = Carried(self.units[node], whole and kept)

    def _moved(self, node: fx.Node) -> bool:
        """Whether a node moves a current to other places, which keeps its unit."""
        known = call_of(node, self.network, self.values)
        moves = known is not None and known[0].spikes.moves and known[0].spikes.carries(known[1])
        if known is None or not moves or not isinstance(self.values[node], Tensor):
            return False
        tensors = [s for s in node.all_input_nodes if isinstance(self.values.get(s), Tensor)]
        found = [self.carried.get(source, Carried()) for source in tensors]
        if not found or any(one.unit is None for one in found):
            return False
        units = {source: one.unit for source, one in zip(tensors, found, strict=True)}
        unit = known[1].evaluated(lambda n: units.get(n, self.values.get(n)))
        if not isinstance(unit, Tensor) or not same_in_rows(unit):
            return False
        self.carried[node] = Carried(unit, all(one.whole for one in found))
        return True

    def _in_activation_units(self, node: fx.Node) -> None:
        """Anything else computes what it did before."""
        changed = fx.node.map_arg((node.args, node.kwargs), lambda n: self._activation(n, node))
        node.args, node.kwargs = changed
        if node.meta["role"] in ("weighted", "difference"):
            self.analog.append(node.meta["name"])
        self.carried[node] = Carried()

    # -- units

    def _axis(self, neuron: fx.Node) -> int:
        return self.network.neuron(str(neuron.target)).channel_dim

    def _map(self, node: Any, unit: Tensor, axis: int) -> Tensor:
        """A unit per channel shaped like a node's value for one image."""
        like = self.values[node]
        if unit.ndim == 1 and like.ndim > 1:
            sides = [1] * like.ndim
            sides[axis] = -1
            unit = unit.view(sides)
        return unit.double().expand(like.shape)

    def _activation(self, source: fx.Node, reader: fx.Node) -> fx.Node:
        """The value of a node in activation units."""
        unit = self.carried.get(source, Carried()).unit
        if unit is None:
            return source
        return self._times(source, unit, reader, Carried())

    def _in_unit(self, source: Any, unit: Tensor, reader: fx.Node) -> Any:
        """The value of a node as whole numbers of a unit."""
        if not isinstance(source, fx.Node):
            return source
        now = self.carried.get(source, Carried())
        unit = unit.expand(self.values[source].shape) if unit.ndim else unit
        if now.unit is None:
            return self._rounded(source, 1 / unit, reader, unit)
        factor = now.unit / unit
        if now.whole and torch.allclose(factor, torch.ones_like(factor), rtol=1e-6):
            return source
        if now.whole and source.meta["spikes"] and bool((factor.abs() >= LEAST_FACTOR).all()):
            return self._times(source, factor.round(), reader, Carried(unit, True))
        return self._rounded(source, factor, reader, unit)

    def _times(
        self, source: fx.Node, factor: Tensor, reader: fx.Node, becomes: Carried, extra: str = ""
    ) -> fx.Node:
        """The node times a constant."""
        small = _compressed(factor)
        key = (source, extra, becomes.whole, tuple(small.shape), tuple(small.flatten().tolist()))
        if key not in self._kept:
            graph, name = self.network.graph, unique(self.network, f"{PLACE}.factor")
            place_tensor(self.network, name, small.float())
            with graph.inserting_before(reader):
                constant = graph.get_attr(name)
                node = graph.call_function(torch.mul, (source, constant))
            constant.meta = {"role": "constant", "spikes": False, "path": PLACE}
            constant.meta["shape"] = list(small.shape)
            role = "static" if source.meta["role"] in ("static", "input") else "linear"
            node.meta = self._meta(source, "mul", role, bool(source.meta["spikes"]))
            if becomes.whole:
                node.meta["numbers"] = WHOLE
            self._kept[key], self.values[node] = node, self.values[source]
            self.carried[node] = becomes
        return self._kept[key]

    def _rounded(self, source: fx.Node, scale: Tensor, reader: fx.Node, unit: Tensor) -> fx.Node:
        """The node in units, rounded."""
        small = _compressed(scale)
        key = (source, "rounded", tuple(small.shape), tuple(small.flatten().tolist()))
        if key not in self._kept:
            graph, name = self.network.graph, unique(self.network, f"{PLACE}.rounding")
            layer = ToUnit(tuple(small.shape))
            layer.scale = small.float()
            place(self.network, name, layer)
            with graph.inserting_before(reader):
                node = graph.call_module(name, (source,))
            role = "static" if source.meta["role"] in ("static", "input") else "difference"
            node.meta = {**self._meta(source, "to_unit", role, False), "numbers": ROUNDED}
            self._kept[key], self.values[node] = node, self.values[source]
            self.carried[node] = Carried(unit, True)
        return self._kept[key]

    def _meta(self, source: fx.Node, op: str, role: str, spikes: bool) -> dict[str, Any]:
        return {
            **{"op": op, "role": role, "spikes": spikes, "path": PLACE},
            "shape": list(source.meta["shape"]),
        }


def _compressed(values: Tensor) -> Tensor:
    """Values with one entry along every dimension along which they are the same."""
    for dim in range(values.ndim):
        first = values.narrow(dim, 0, 1)
        if torch.allclose(values, first.expand_as(values), rtol=1e-7, atol=0):
            values = first
    return values
