"""The time loop on a GPU: torch does the convolutions, CuPy kernels all that remembers.

A layer of neurons is one kernel over the timesteps of a chunk. What stands around it is taken into
that kernel where the graph allows: the addition of a residual, a current that is the same at every
timestep, the sums that a readout wants. Spikes are written in the type that the next layer reads;
as bits where that is a pool or a linear layer that adds up few weights. Whole numbers of spikes and
weights may be multiplied as integers, see ``int8_products.py``.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import call_node
from spikeport.convert.graph.operations.table import row_of
from spikeport.convert.graph.roles import call_leaves, homogeneous, in_time
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input, tensors_of
from spikeport.convert.simulation.emitted import Emitted, Watcher
from spikeport.convert.simulation.gpu.int8_products import Int8Products, has_whole_weights
from spikeport.convert.simulation.gpu.layers import FiringLayer, Packed, Totals
from spikeport.convert.simulation.run import Run
from spikeport.cuda import launch
from spikeport.cuda.available import why_unavailable
from spikeport.cuda.difference import emit_difference, running_mean
from spikeport.cuda.layout import Layout
from spikeport.cuda.shapes import ELEMENT

SPARSE_BELOW = 1 / 32  # share of the inputs that fire; not measured on a GPU yet


@dataclass(frozen=True)
class CurrentSum:
    """Two currents that the neurons' kernel will add, [T·B, ...] each."""

    first: Tensor
    second: Tensor


class CudaRun(Run):
    """One presentation of one batch, with the kernels."""

    def __init__(self, network: SpikingGraph, x: Input, watch: Watcher | None) -> None:
        super().__init__(network, x, watch)
        self.layers: dict[fx.Node, FiringLayer] = {}
        self.marks: Sequence[int] = ()
        self.sparse: dict[fx.Node, bool] = {}
        self.products = Int8Products(network)

    def advance(self, steps: int, marks: Sequence[int] = ()) -> Any:
        """Simulate the next timesteps; see ``Run.advance``."""
        self.marks = marks
        return super().advance(steps, marks)

    def keep(self, rows: Tensor) -> None:
        """See ``Run.keep``."""
        batch, flat = len(self.x), {}  # the sums of the difference kernels, [N]
        for node, state in self.state.items():
            if node.meta["role"] == "difference" and isinstance(state[0], Tensor):
                flat[node] = tuple(sums.view(batch, -1)[rows].flatten() for sums in state)
        super().keep(rows)
        self.state |= flat
        for layer in self.layers.values():
            layer.keep_images(rows, batch)

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        if node.meta["role"] == "neuron" and self._takes(node):
            return self._fire(node, values, steps)
        if self._is_residual(node):
            first, second = (values[source] for source in node.args)
            if (first.shape, first.dtype) == (second.shape, second.dtype):
                return CurrentSum(first, second)
        source = node.args[0] if node.args else None
        given = values.get(source) if isinstance(source, fx.Node) else None
        if isinstance(given, Packed):
            return self._from_packed(node, given)
        plain = partial(super()._in_time, node, values, steps)
        product = self.products.output(node, given, plain)
        return plain() if product is None else product

    def _takes(self, node: fx.Node) -> bool:
        """Whether the kernels know these neurons."""
        neuron = self.network.neuron(str(node.target))
        hooked = bool(neuron._forward_hooks or neuron._forward_pre_hooks)
        return neuron.native_rule is not None and not hooked

    def _is_residual(self, node: fx.Node) -> bool:
        """Whether a node adds two currents of neurons, and nothing else reads the sum."""
        users = list(node.users)
        return (
            _is_sum(node)
            and len(node.args) == 2
            and not node.kwargs
            and all(map(in_time, node.args))
            and len(users) == 1
            and users[0].meta["role"] == "neuron"
            and self._takes(users[0])
        )

    def _fire(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        """Run a layer of neurons over the chunk."""
        current, residual = self._currents(node, values, steps)
        if node not in self.layers:
            neuron = self.network.neuron(str(node.target))
            self.layers[node] = FiringLayer(neuron, current)
        layer = self.layers[node]
        if self.watch is not None:
            out = layer.values(current, residual, steps)
            self._show(node, Emitted(out, self.time))
            return out.flatten(0, 1)
        read_out = self.readout is not None and node in self.readout.sources
        if read_out and self._only_read_out(node):
            return layer.totals(current, residual, (*self.marks, steps))
        if not read_out and self._read_as_bits(node):
            return layer.packed(current, residual, steps)
        return layer.values(current, residual, steps).flatten(0, 1)

    def _currents(
        self, node: fx.Node, values: dict[fx.Node, Any], steps: int
    ) -> tuple[Tensor, Tensor | None]:
        """[t, B, ...], or [1, B, ...] where it never changes; and what is added to it."""
        source: Any = node.args[0]
        corrected = self.time < len(self.network.neuron(str(node.target)).correction)
        given = values.get(source)
        if isinstance(given, CurrentSum):
            first, second = (v.unflatten(0, (steps, -1)) for v in (given.first, given.second))
            if not corrected:
                return first, second
            current = first + second
        elif source in self.static and not corrected:
            return self.static[source][None], None
        else:
            current = self._unfold(source, values, steps)
        return (self._corrected(node, current) if corrected else current), None

    def _corrected(self, node: fx.Node, current: Tensor) -> Tensor:
        """The current with the neurons' own, which only the first timesteps have."""
        neuron = self.network.neuron(str(node.target))
        rows = neuron.correction[self.time : self.time + len(current)]
        own = torch.stack(
            [neuron.per_channel(row, current[0]).expand_as(current[0]) for row in rows]
        )
        return torch.cat([current[: len(rows)] + own, current[len(rows) :]])

    def _only_read_out(self, node: fx.Node) -> bool:
        assert self.readout is not None
        return all(user in self.readout.inside for user in node.users)

    def _read_as_bits(self, node: fx.Node) -> bool:
        """Whether all that read the spikes of a neuron take them packed."""
        return all(self._takes_packed(node, user) for user in node.users)

    def _takes_packed(self, node: fx.Node, user: fx.Node) -> bool:
        if user.op != "call_module" or user.args != (node,):
            return False
        neuron = self.network.neuron(str(node.target))
        module: Any = self.network.get_submodule(str(user.target))
        if module._forward_hooks or module._forward_pre_hooks or neuron.threshold.ndim > 1:
            return False
        if type(module) is nn.Linear:
            suits = len(node.meta["shape"]) == 2 and self.sparse.get(user, True)
            return suits and (not self.integer or has_whole_weights(module))
        if self.integer:  # a mean is no whole number, and no sum of floats
            return False
        plain = type(module) is nn.AvgPool2d and not module.ceil_mode
        return plain and module.divisor_override is None and len(node.meta["shape"]) == 4

    def _from_packed(self, node: fx.Node, packed: Packed) -> Tensor:
        """A pool or a linear layer on bits."""
        module: Any = self.network.get_submodule(str(node.target))
        if isinstance(module, nn.AvgPool2d):
            return packed.pooled(module).flatten(0, 1)
        if node not in self.sparse:  # decided in the first chunk
            self.sparse[node] = packed.density() < SPARSE_BELOW
        if self.sparse[node]:
            return packed.weighted(module).flatten(0, 1)
        spikes = packed.values().flatten(0, 1)
        product = self.products.output(node, spikes, partial(module, spikes))
        return module(spikes) if product is None else product

    def _sum(
        self, node: fx.Node, values: dict[fx.Node, Any], steps: int, span: tuple[int, int]
    ) -> Any:
        if isinstance(values[node], Totals):
            total = values[node].between(*span)
            return total.double() if self.integer else total  # a mean of counts, as torch has it
        return super()._sum(node, values, steps, span)

    def _difference(self, node: fx.Node, args: Any, kwargs: Any, steps: int) -> Any:
        changing = list(filter(in_time, call_leaves(node)))  # twice if it is read twice
        alone = len(changing) == 1 and changing[0] is node.args[0] and isinstance(args[0], Tensor)
        plain = self.watch is None and len(node.meta.get("shape") or ()) > 0
        if self.integer or not alone or not plain or args[0].dtype not in ELEMENT:
            return super()._difference(node, args, kwargs, steps)
        whole, x = homogeneous(node), args[0].unflatten(0, (steps, -1))
        layout = Layout.of(x)
        total, previous = self.state.get(node, (x.new_zeros(layout.neurons).float(), None))
        mean, total = running_mean(layout.rows(x), total, self.time, not whole)
        changed = (layout.tensor(mean).flatten(0, 1), *args[1:])
        at_mean = call_node(self.network, node, changed, kwargs).unflatten(0, (steps, -1))
        after = Layout.of(at_mean)
        if previous is None:
            previous = at_mean.new_zeros(after.neurons).float()
        out, previous = emit_difference(after.rows(at_mean), previous, self.time, not whole)
        self.state[node] = total, previous
        return after.tensor(out).flatten(0, 1)


def _is_sum(node: fx.Node) -> bool:
    row = row_of(node)
    return row is not None and row.engine == "add"


def wants_gradients(network: SpikingGraph, x: Input) -> bool:
    """Whether a call may be followed by ``backward``."""
    wanted = any(value.requires_grad for value in (*tensors_of(x), *network.parameters()))
    return wanted and torch.is_grad_enabled()


def start_on_gpu(network: SpikingGraph, x: Input, watch: Watcher | None) -> Run | None:
    """A run with the kernels, or None where something else has to do it.

    Raises:
        ConversionError: the backend is "cuda" and the kernels cannot run this call.
    """
    chosen = network.backend == "cuda"
    if not chosen and (network.backend != "auto" or x.device.type != launch.DEVICE):
        return None
    if not chosen and wants_gradients(network, x):
        return None
    reason = _why_not(network, x)
    if reason is None:
        return CudaRun(network, x, watch)
    if chosen:
        raise ConversionError(f"backend 'cuda': {reason}; use 'torch', which also runs on GPUs")
    if x.device.type == "cuda" and why_unavailable():
        warnings.warn(f"simulating with torch's own operations: {reason}", stacklevel=2)
    return None


def _why_not(network: SpikingGraph, x: Input) -> str | None:
    missing = why_unavailable()
    if missing:
        return missing
    if wants_gradients(network, x):
        return "the kernels have no gradients"
    values = [*tensors_of(x), *network.parameters(), *network.buffers()]
    if {value.device for value in values} != {x.device} or x.device.type != launch.DEVICE:
        return "the network and its input are not on one GPU"
    wrong = {v.dtype for v in values if v.is_floating_point()} - set(ELEMENT)
    if wrong:
        return f"the kernels do not take {', '.join(map(str, wrong))}"
    return None
