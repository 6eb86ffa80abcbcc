"""Accumulates and multiply-accumulates counted one spike at a time.

Nothing of ``spikeport.report`` is used. What an operation does to spikes is not looked up but tried
out: one spike of value 1 at one position after the other is given to it, alone, and the positions
of its output that differ from those for no spike are where the spike arrives. What a layer does
with a spike is tried out likewise, with weights of 1.

- A spike costs one accumulate for every weight that it meets; weights of value 0 count.
- A sum delivers the spikes of all its terms, a copy or a window every spike to each of its outputs.
- A graded spike of n levels counts n. What a max-pool of spikes emits are new spikes.
- What reads analog values multiplies: every weight inside the padding, once if what it reads is
  the constant input, else at every timestep; also products of two streams and recurrent layers.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from called_node import CHANGING, is_changing
from positions import cloned, packed, unpacked
from recorded import Recorded
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.operations.table import row_of
from spikeport.convert.inputs import Input, tensors_of
from spikeport.convert.simulation.encoded_network import as_presented

MOST_POSITIONS = 1500  # of one value; a table of positions by positions is made for each operation
PRODUCTS = {
    *("matmul", "mm", "bmm", "mv", "einsum", "addmm", "baddbmm", "addbmm", "addmv", "tensordot"),
    *("inner", "linear", "conv1d", "conv2d", "conv3d", "bilinear", "imatmul", "dot", "vdot"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "chain_matmul", "multi_dot"),
}
ADDS_FIRST = {"addmm", "baddbmm", "addbmm", "addmv"}  # their first operand is no factor


class TooLarge(Exception):
    """A network that is too large, or too unusual, to be counted like this."""


@dataclass
class Count:
    """Operations per image.

    Attributes:
        accumulates: up to each T asked for.
        once: multiply-accumulates by layer that are computed once.
        each: those of every timestep.
    """

    accumulates: dict[int, float] = field(default_factory=dict)
    once: dict[str, float] = field(default_factory=dict)
    each: dict[str, float] = field(default_factory=dict)

    def multiplies(self, timesteps: int) -> float:
        """Multiply-accumulates up to a T."""
        return sum(self.once.values()) + timesteps * sum(self.each.values())


@torch.no_grad()
def count(network: SpikingNetwork, x: Input, timesteps: Sequence[int]) -> Count:
    """Simulate a batch on torch's operations and count what it costs.

    Raises:
        TooLarge: a value of one image has more than MOST_POSITIONS positions.
    """
    signal, first = network.encoding.present(x), network.encoding.batch(x)
    shown = as_presented(network)
    tried = _Tried(shown, first[:1])
    tried.check_size()
    run = Recorded(shown, first)
    run.signal, run.wanted = signal, max(timesteps)
    run.advance(run.wanted)
    spikes_of = _emitted(run, run.wanted)
    found = Count()
    tried.count_multiplies(found)
    for T in timesteps:
        total = 0.0
        for node, emitted in spikes_of.items():
            spikes = tried.spikes(node, emitted[:T])  # [B, positions]
            total += float((spikes.sum(0) * tried.fanout(node)).sum())
        found.accumulates[T] = total / len(first)
    return found


def _emitted(run: Recorded, timesteps: int) -> dict[fx.Node, Tensor]:
    """The spikes of every source of spikes, [T, B, ...], by node."""
    emitted: dict[fx.Node, Tensor] = {}
    for node, value in run.found.items():
        role = node.meta["role"]
        emits = role in ("neuron", "difference", "signal") and node.meta["spikes"]
        if emits and isinstance(value, Tensor):
            emitted[node] = value.unflatten(0, (timesteps, -1))
            if role == "neuron":
                neuron = run.network.neuron(str(node.target))
                emitted[node] = neuron.events(emitted[node], None)
    return emitted


class _Tried:
    """The graph, tried out position by position."""

    def __init__(self, network: SpikingNetwork, image: Input) -> None:
        self.network, self.image = network, image
        self.nodes = list(network.graph.nodes)
        self._values: dict[int, dict[fx.Node, Any]] = {}
        self._reach: dict[tuple[fx.Node, int], Tensor] = {}

    def values(self, copies: int) -> dict[fx.Node, Any]:
        """Analog values of every node for so many copies of the image."""
        if copies not in self._values:
            images = tensors_of(self.image)
            given = iter([image.expand(copies, *image.shape[1:]).clone() for image in images])
            values: dict[fx.Node, Any] = {}
            for node in self.nodes:
                if node.op == "placeholder":
                    values[node] = next(given)
                elif node.op != "output":
                    args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                    values[node] = self._call(node, args, kwargs)
            self._values[copies] = values
        return self._values[copies]

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op == "get_attr":
            found: Any = self.network
            for part in str(node.target).split("."):
                found = getattr(found, part)
            return found
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_function":
            return node.target(*args, **kwargs)
        module = self.network.get_submodule(str(node.target))
        return module.analog(args[0]) if node.meta["role"] == "neuron" else module(*args, **kwargs)

    def positions(self, node: fx.Node) -> int:
        """Numbers that the value of one image has."""
        number = packed(self.values(1)[node], 1).shape[1]
        if number > MOST_POSITIONS:
            raise TooLarge(f"{node.name} has {number} positions")
        return number

    def check_size(self) -> None:
        """Raise TooLarge where a value has too many positions, or not the batch first."""
        one, two = self.values(1), self.values(2)
        for node in filter(_is_data, self.nodes):
            pairs = zip(pytree.tree_leaves(one[node]), pytree.tree_leaves(two[node]), strict=True)
            for a, b in pairs:
                if isinstance(a, Tensor) and (a.ndim == 0 or len(b) != 2 * len(a)):
                    raise TooLarge(f"{node.name} does not have the batch as its first dimension")
                if isinstance(a, Tensor):
                    self.positions(node)

    def is_source(self, node: fx.Node) -> bool:
        """Whether new spikes begin here: neurons, an input of spikes, and a max of spikes."""
        if not node.meta["spikes"] or node.meta["role"] not in ("neuron", "difference", "signal"):
            return False
        if node.meta["role"] != "difference":
            return True
        row = row_of(node)  # a max of a single value emits, too
        return (row is not None and row.spikes.selects) or not self._is_elementwise(node)

    def _is_elementwise(self, node: fx.Node) -> bool:
        places = list(_changing(node))
        if len(places) != 1:
            return False
        reach = self.reach(node, places[0][0])
        return reach.shape[0] == reach.shape[1] and bool(
            ((reach != 0) == torch.eye(len(reach))).all()
        )

    def reach(self, node: fx.Node, place: int) -> Tensor:
        """What a spike of 1 at each position of an argument makes of each of the output's.

        Returns:
            [positions of the argument, positions of the output].
        """
        if (node, place) not in self._reach:
            leaves, form = pytree.tree_flatten((node.args, node.kwargs))
            size = self.positions(leaves[place])
            values = self.values(size)
            like = values[leaves[place]]
            given = [self._operand(leaf, values) for leaf in leaves]

            def call(one: Tensor) -> Tensor:
                given[place] = unpacked(one, like)
                args, kwargs = pytree.tree_unflatten([cloned(v) for v in given], form)
                return packed(self._call(node, args, kwargs), size)

            none, spike = torch.zeros(size, size), torch.eye(size)
            self._reach[node, place] = (call(spike) - call(none)).double()
        return self._reach[node, place]

    def _operand(self, leaf: Any, values: dict[fx.Node, Any]) -> Any:
        """What stands beside the tried argument: no spikes, and constants that are not 0."""
        if not isinstance(leaf, fx.Node):
            return fx.node.map_arg(leaf, values.__getitem__)
        if is_changing(leaf):
            return pytree.tree_map_only(Tensor, torch.zeros_like, values[leaf])
        generator = torch.Generator().manual_seed(0)

        def other(v: Tensor) -> Tensor:
            if not v.is_floating_point():
                return v
            return torch.rand(v.shape, generator=generator).to(v.dtype) + 0.5

        return pytree.tree_map_only(Tensor, other, values[leaf])

    # what spikes cost

    def fanout(self, source: fx.Node) -> Tensor:
        """Accumulates of one spike at each position of a source, [positions]."""
        size = self.positions(source)
        arrived: dict[fx.Node, Tensor] = {source: torch.eye(size).double()}
        cost = torch.zeros(size).double()
        if not self.is_source(source):
            return cost
        for node in self.nodes:
            places = [(p, s) for p, s in _changing(node) if s in arrived]
            if node is source or not places or node.op == "output":
                continue
            for place, came_from in places:
                if _is_weighted(node, self.network) and came_from.meta["spikes"]:
                    cost += arrived[came_from] @ self.weights_met(node, place)
            passes = node.meta["spikes"] and not self.is_source(node)
            if passes and not _is_weighted(node, self.network):
                arrived[node] = sum(
                    arrived[came_from] @ (self.reach(node, place) != 0).double()
                    for place, came_from in places
                )
        return cost

    def weights_met(self, node: fx.Node, place: int) -> Tensor:
        """Weights that one spike at each position of an input of a layer meets, [positions]."""
        leaves, form = pytree.tree_flatten((node.args, node.kwargs))
        size = self.positions(leaves[place])
        values = self.values(size)
        outputs = []
        for one in (torch.eye(size), torch.zeros(size, size)):
            given = [
                unpacked(one, values[leaf]) if index == place else _ones(leaf, values)
                for index, leaf in enumerate(leaves)
            ]
            args, kwargs = pytree.tree_unflatten(given, form)
            outputs.append(packed(self._call_with_ones(node, args, kwargs), size).double())
        return (outputs[0] - outputs[1]).sum(1)

    def _call_with_ones(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op != "call_module":
            return self._call(node, args, kwargs)
        layer: Any = copy.deepcopy(self.network.get_submodule(str(node.target)))
        layer.weight, layer.bias = nn.Parameter(torch.ones_like(layer.weight)), None
        return layer(*args, **kwargs)

    def spikes(self, node: fx.Node, emitted: Tensor) -> Tensor:
        """Levels emitted in some timesteps, added up, [B, positions]."""
        # by image, where frames are folded into the batch too
        sizes = emitted.double().abs().flatten(1).unflatten(1, (-1, self.positions(node)))
        if not self.is_source(node):
            return torch.zeros_like(sizes[0])
        quantum = self.quantum(node)
        levels = torch.where(quantum > 0, sizes / quantum.clamp_min(1e-300), (sizes > 0).double())
        return levels.sum(0)

    def quantum(self, node: fx.Node) -> Tensor:
        """Value of one spike at each position, [positions]; 0 where there is no common one."""
        if node.meta["role"] == "neuron":
            neuron, value = self.network.neuron(str(node.target)), self.values(1)[node]
            return neuron.per_channel(neuron.threshold, value).expand_as(value).flatten().double()
        unknown = torch.zeros(self.positions(node)).double()
        if node.meta["role"] == "signal":
            unit = getattr(self.network.encoding, "unit", None)
            return unknown if unit is None else unknown + unit
        low, high = unknown + torch.inf, unknown.clone()
        for place, source in _changing(node):
            reach, values = self.reach(node, place) != 0, self.quantum(source)
            table = torch.where(reach, values[:, None], torch.nan)
            known = reach.any(0)
            low = torch.where(known, torch.minimum(low, table.nan_to_num(torch.inf).amin(0)), low)
            high = torch.where(known, torch.maximum(high, table.nan_to_num(0.0).amax(0)), high)
            chosen = node.meta["role"] == "difference"  # of several, one comes through
            moved = (
                (reach.sum(0) <= 1) & ((self.reach(node, place) - 1).abs() < 1e-6).any(0)
            ) | ~known
            if not chosen and not bool(moved.all()):
                return unknown
        return torch.where(low == high, low, unknown)

    # what is multiplied

    def count_multiplies(self, found: Count) -> None:
        """Note the multiply-accumulates of everything that reads analog values."""
        for index, node in enumerate(self.nodes):
            if not node.op.startswith("call") or node.meta["role"] in ("shape", "neuron"):
                continue
            macs = self._macs(node)
            if macs:
                of_time = node.meta["role"] != "static"
                (found.each if of_time else found.once)[f"{index} {node.name}"] = macs

    def _macs(self, node: fx.Node) -> float:
        module = None
        if node.op == "call_module":
            module = self.network.get_submodule(str(node.target))
        if isinstance(module, nn.RNNBase):
            return _recurrent(module, self.values(1)[node.all_input_nodes[0]])
        if isinstance(module, nn.RNNCellBase):
            gates = module.weight_hh.shape[0]  # times the hidden size
            return float(gates * (module.input_size + module.hidden_size))
        if _function(node) == "bilinear" or isinstance(module, nn.Bilinear):
            x, z = (self.values(1)[s] for s in node.all_input_nodes[:2])
            outputs = self.values(1)[node].numel()
            return float(outputs * (x.shape[-1] * z.shape[-1] + z.shape[-1]))
        if _function(node) == "scaled_dot_product_attention":
            q, k, v = (self.values(1)[s] for s in node.all_input_nodes[:3])
            return float(q[..., 0].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1]))
        if not _multiplies(node, self.network):
            return 0.0
        operands = [s for s in _factors(node) if _is_data(s)]
        if len(operands) == 1:
            if operands[0].meta["spikes"] and _is_weighted(node, self.network):
                return 0.0  # accumulates
            place = pytree.tree_leaves((node.args, node.kwargs)).index(operands[0])
            return float(self.weights_met(node, place).sum())
        leaves, form = pytree.tree_flatten((node.args, node.kwargs))
        given = [_ones(leaf, self.values(1), zero=leaf not in operands) for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(given, form)
        return float(self._call(node, args, kwargs).double().sum())


def _is_data(node: fx.Node) -> bool:
    return node.meta["role"] in (*CHANGING, "static", "input")


def _changing(node: fx.Node) -> Iterator[tuple[int, fx.Node]]:
    """Places among the flattened arguments, and nodes, of what changes in time."""
    for place, leaf in enumerate(pytree.tree_leaves((node.args, node.kwargs))):
        if is_changing(leaf):
            yield place, leaf


def _function(node: fx.Node) -> str:
    if node.op == "call_module":
        return ""
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return str(name).strip("_")


def _multiplies(node: fx.Node, network: nn.Module) -> bool:
    """Whether a node has weights, or multiplies two matrices."""
    if node.op != "call_module":
        return _function(node) in PRODUCTS
    module = network.get_submodule(str(node.target))
    return isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))


def _factors(node: fx.Node) -> list[fx.Node]:
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    leaves = leaves[1:] if _function(node) in ADDS_FIRST else leaves
    return [leaf for leaf in leaves if isinstance(leaf, fx.Node)]


def _is_weighted(node: fx.Node, network: nn.Module) -> bool:
    """Whether a node multiplies one stream by constants, which are not made from its sizes."""
    factors = _factors(node)
    made = any(factor.meta["role"] == "shape" for factor in factors)
    return _multiplies(node, network) and len(list(filter(_is_data, factors))) == 1 and not made


def _ones(leaf: Any, values: dict[fx.Node, Any], zero: bool = False) -> Any:
    if not isinstance(leaf, fx.Node):
        return leaf
    like = torch.zeros_like if zero else torch.ones_like
    return pytree.tree_map_only(
        Tensor, lambda v: like(v) if v.is_floating_point() else v, values[leaf]
    )


def _recurrent(module: nn.RNNBase, x: Tensor) -> float:
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    hidden, out = module.hidden_size, module.proj_size or module.hidden_size
    directions = 2 if module.bidirectional else 1
    length = x.shape[-2] if module.batch_first or x.ndim == 2 else x.shape[0]
    total = 0
    for layer in range(module.num_layers):
        inputs = module.input_size if layer == 0 else out * directions
        one = gates * hidden * (inputs + out)
        total += directions * (one + (hidden * out if module.proj_size else 0))
    return float(total * length)
