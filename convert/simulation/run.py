"""One presentation of one batch: the graph as a spiking network, on torch's own operations.

``Run`` is what backends and measurements extend. The loop is ``advance``: it takes the next
timesteps, folded into the batch, through the nodes in order. A subclass may override

- ``_in_time(node, values, steps)``: the value, [t·B, ...], of one node that changes in time;
- ``_unfold(node, values, steps)``: a node's value as [t, B, ...];
- ``_sum(node, values, steps, span)`` and ``_mean``: what a readout adds up and decodes;
- ``default_chunk`` and ``keep``: timesteps at once, and which images go on.

State is in ``state`` by node, what does not change in time in ``static``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert.graph.nodes import call_node, returned
from spikeport.convert.graph.roles import IN_TIME, emits, homogeneous
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input, tensors_of
from spikeport.convert.neurons.layer import at_least_float32
from spikeport.convert.simulation.chunk_size import chunk_size
from spikeport.convert.simulation.emitted import Emitted, Watcher
from spikeport.convert.simulation.exact_sums import exact_sums
from spikeport.convert.simulation.input_encoding import Presentation
from spikeport.convert.simulation.precision import precision_of
from spikeport.convert.simulation.readout import Readout


class Run:
    """One presentation of one batch.

    Args:
        network: as its encoding makes it; see ``as_presented``.
        x: [B, C, ...]: the constant input or inputs, or one like that of a timestep.
        watch: see ``decode``.
    """

    readout: Readout | None = None  # given if the output is wanted decoded
    signal: Presentation | None = None  # given if the input changes in time
    wanted = 0  # timesteps in all

    def __init__(self, network: SpikingGraph, x: Input, watch: Watcher | None) -> None:
        self.network, self.x, self.watch = network, x, watch
        self.precision = precision_of(network)
        self.time = 0
        self.sums: dict[fx.Node, Any] = {}  # of what the readout reads, over all timesteps
        self.means: dict[int, dict[fx.Node, Any]] = {}  # of the same, by mark
        self.state: dict[fx.Node, Any] = {}
        self.static: dict[fx.Node, Any] = {}
        self.nodes = list(network.graph.nodes)
        self.last_use = {source: node for node in self.nodes for source in node.all_input_nodes}
        self.integer = any(neuron.integer for neuron in network.neurons.values())
        with self._exact_sums():
            self._start(iter(tensors_of(x)))

    def _start(self, given: Iterator[Tensor]) -> None:
        """Evaluate what does not change in time and is known before the first timestep."""
        for node in self.nodes:
            if node.meta["role"] == "input":
                self.static[node] = next(given)
            elif all(source in self.static for source in node.all_input_nodes) and node.meta[
                "role"
            ] in ("constant", "shape", "static"):
                self.static[node] = self._call_static(node)

    def _exact_sums(self) -> AbstractContextManager[None]:
        """The settings of torch for products of an integer network."""
        return exact_sums(self.x.device) if self.integer else nullcontext()

    def default_chunk(self) -> int:
        """Timesteps at once where the caller leaves it open."""
        return chunk_size(self.network, self.x)

    def keep(self, rows: Tensor) -> None:
        """Go on with some images of the batch only; between two chunks.

        Args:
            rows: their indices in the batch, ascending, int64.
        """
        traced = next(node.meta["shape"][0] for node in self.nodes if node.op == "placeholder")
        select = partial(_select, rows=rows, batch=len(self.x), traced=traced)
        static = {n: select(v, n) for n, v in self.static.items() if n.meta["role"] == "static"}
        self.x = self.x[rows]
        if self.signal is not None:
            self.signal.keep(rows)
        inputs = [node for node in self.nodes if node.meta["role"] == "input"]
        self.static |= static | dict(zip(inputs, tensors_of(self.x), strict=False))
        self.state = {node: select(state, node) for node, state in self.state.items()}
        self.sums = {node: select(total, node) for node, total in self.sums.items()}

    def present(self, steps: int) -> None:
        """Take the input's next timesteps, if it changes in time."""
        if self.signal is None:
            return
        self.frames, spikes = self.signal.advance(steps)
        if self.network.encoding.spiking:
            self._show(self.nodes[0], Emitted(spikes, self.time))

    def advance(self, steps: int, marks: Sequence[int] = ()) -> Any:
        """Simulate the next timesteps.

        Args:
            steps: how many.
            marks: with a readout: after how many of them the decoded output is wanted, ascending.

        Returns:
            The outputs at each timestep, [t, B, ...]; with a readout the decoded ones, a list.
        """
        self.present(steps)
        outputs = self.resume(self.nodes, {}, steps, marks)
        self.time += steps
        return outputs

    def resume(
        self,
        nodes: Sequence[fx.Node],
        values: dict[fx.Node, Any],
        steps: int,
        marks: Sequence[int] = (),
    ) -> Any:
        """``advance`` over the last nodes only, from the values, [t·B, ...], that they read."""
        with self._exact_sums():
            return self._resume(nodes, values, steps, marks)

    def _resume(
        self,
        nodes: Sequence[fx.Node],
        values: dict[fx.Node, Any],
        steps: int,
        marks: Sequence[int],
    ) -> Any:
        waiting = self.readout.inside if self.readout else ()
        sources = self.readout.sources if self.readout else ()
        for node in nodes:
            role = node.meta["role"]
            if role == "output":
                outputs = self._outputs(values, steps, marks)
            elif node in waiting:
                pass
            elif role == "shape":
                values[node] = self._folded_shape(node, values, steps)
                if node not in self.static:  # where it is, the decision has been checked
                    self.network.check_guard(node, values[node])
                    self.static[node] = self._plain_shape(node, values, steps)
            elif role == "static":
                if node not in self.static:
                    self.static[node] = self._call_static(node)
            elif role in IN_TIME:
                values[node] = self._in_time(node, values, steps)
                if node in sources:
                    self._collect(node, values, steps, marks)
            for source in node.all_input_nodes:
                if self.last_use[source] is node:
                    values.pop(source, None)
        return outputs

    def _outputs(self, values: dict[fx.Node, Any], steps: int, marks: Sequence[int]) -> Any:
        if self.readout is None:
            return self._returned(values, steps)
        return [self._decoded(self.readout, self.means.pop(mark, {})) for mark in marks]

    def _returned(self, values: dict[fx.Node, Any], steps: int) -> Any:
        found = returned(self.nodes[-1], lambda n: self._unfold(n, values, steps))
        if self.precision is None:
            return found
        return pytree.tree_map_only(Tensor, self._as_network, found)

    def _as_network(self, value: Tensor) -> Tensor:
        """A value in the floating point type of the network, if it has one."""
        return value.to(self.network.float_type) if value.is_floating_point() else value

    def _decoded(self, readout: Readout, means: dict[fx.Node, Any]) -> Any:
        """The output for means over time, [B, ...]: the readout as in a chunk of one timestep."""
        values = dict(means)
        for node in readout.nodes:
            if node.meta["role"] == "shape":
                values[node] = self._folded_shape(node, values, 1)
            elif self.precision is None:
                values[node] = self._in_time(node, values, 1)
            else:
                args, kwargs = self._arguments(node, values, 1)
                values[node] = self.precision.of_means(node, args, kwargs)
        return pytree.tree_map_only(Tensor, lambda v: v[0], self._returned(values, 1))

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Evaluate a node on values in the dtype that they have at single timesteps."""
        if self.precision is None or node.meta["role"] == "shape":
            return call_node(self.network, node, args, kwargs)
        return self.precision.call(node, args, kwargs)

    def _collect(
        self, node: fx.Node, values: dict[fx.Node, Any], steps: int, marks: Sequence[int]
    ) -> None:
        """Add up a value that the readout reads, and note its mean at the marks."""
        begin = 0
        for end in (*marks, *([steps] if steps not in marks else [])):
            part = self._sum(node, values, steps, (begin, end))
            known = self.sums.get(node)
            self.sums[node] = part if known is None else map_tensors(torch.add, known, part)
            if end in marks:
                mean = self._mean(node, self.sums[node], self.time + end)
                self.means.setdefault(end, {})[node] = mean
            begin = end

    def _sum(
        self, node: fx.Node, values: dict[fx.Node, Any], steps: int, span: tuple[int, int]
    ) -> Any:
        """A value added up over timesteps [begin, end) of the chunk, [B, ...]."""
        return pytree.tree_map_only(
            Tensor,
            lambda v: v.unflatten(0, (steps, -1))[slice(*span)].sum(0, dtype=self._type_of_sums(v)),
            values[node],
        )

    def _type_of_sums(self, value: Tensor) -> torch.dtype:
        return torch.float64 if self.precision else at_least_float32(value.dtype)

    def _mean(self, node: fx.Node, total: Any, timesteps: int) -> Any:
        dtype = torch.float64 if self.precision else self.network.float_type
        return pytree.tree_map_only(Tensor, lambda v: (v / timesteps).to(dtype), total)

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        role = node.meta["role"]
        if role == "signal":
            return self.frames[:steps].flatten(0, 1)
        if role == "neuron":
            current = self._unfold(node.args[0], values, steps)
            neuron, before = self.network.neuron(str(node.target)), self.state.get(node)
            out, self.state[node] = neuron(current, before)
            if self.watch is not None:
                self._show(node, Emitted(neuron.events(out, before), self.time))
            return out.flatten(0, 1)
        args, kwargs = self._arguments(node, values, steps)
        if role == "difference":
            value = self._difference(node, args, kwargs, steps)
        else:
            value = self._call(node, args, kwargs)
        return value if self.precision is None else self.precision.finished(node, value)

    def _arguments(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        """The arguments of a node, [t·B, ...] what changes in time."""
        return fx.node.map_arg((node.args, node.kwargs), lambda n: self._folded(n, values, steps))

    def _difference(self, node: fx.Node, args: Any, kwargs: Any, steps: int) -> Any:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        names = pytree.tree_leaves((node.args, node.kwargs))
        sums, previous = self.state.get(node, ({}, None))
        whole = homogeneous(node)
        for index, source in enumerate(names):
            if not isinstance(source, fx.Node) or source.meta["role"] not in IN_TIME:
                continue
            if not leaves[index].is_floating_point():  # indices of maxima, those of the mean
                continue
            part = leaves[index].unflatten(0, (steps, -1))
            wide = self._type_of_sums(leaves[index])
            total = part.cumsum(0, dtype=wide) + sums.get(index, 0.0)
            sums[index] = total[-1]
            mean = total if whole else total / self._times(total, steps)
            leaves[index] = mean.flatten(0, 1).to(wide if self.precision else part.dtype)
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        values, structure = pytree.tree_flatten(self._call(node, args, kwargs))
        previous = previous or [0.0] * len(values)
        emitted = list(values)
        for index, value in enumerate(values):
            if isinstance(value, Tensor) and value.is_floating_point():  # not indices of maxima
                at_mean = value.unflatten(0, (steps, -1)).to(self._type_of_sums(value))
                sum_now = at_mean if whole else at_mean * self._times(at_mean, steps)
                before = torch.cat([torch.zeros_like(sum_now[:1]) + previous[index], sum_now[:-1]])
                previous[index] = sum_now[-1]
                emitted[index] = (sum_now - before).flatten(0, 1).to(value.dtype)
        self.state[node] = (sums, previous)
        if emits(node):
            self._show(node, Emitted(emitted[0].unflatten(0, (steps, -1)), self.time))
        return pytree.tree_unflatten(emitted, structure)

    def _times(self, like: Tensor, steps: int) -> Tensor:
        """1-based timesteps of this chunk, shaped to broadcast against [t, B, ...]."""
        times = torch.arange(self.time + 1, self.time + steps + 1, device=like.device)
        return times.to(like.dtype).view([-1] + [1] * (like.ndim - 1))

    def _show(self, node: fx.Node, emitted: Emitted) -> None:
        if self.watch is not None:
            self.watch(node.meta["name"], emitted)

    def _unfold(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        """A node's value as [t, B, ...]; what is static is repeated without a copy."""
        if node in values and node.meta["role"] in IN_TIME:
            return pytree.tree_map(lambda v: v.unflatten(0, (steps, -1)), values[node])
        return pytree.tree_map_only(Tensor, lambda v: v.expand(steps, *v.shape), self.static[node])

    def _folded(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        """A node's value as [t·B, ...], to stand beside others that change in time."""
        if node in values:
            return values[node]
        value = self.static[node]
        if node.meta["role"] == "constant":
            return value
        return pytree.tree_map_only(
            Tensor, lambda v: v.expand(steps, *v.shape).flatten(0, 1), value
        )

    def _folded_shape(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        """Sizes as they are in the folded batch, also where they are those of a static tensor."""

        def stand_in(source: fx.Node) -> Any:
            value = values[source] if source in values else self.static[source]
            if source.meta["role"] in ("input", "static"):
                return pytree.tree_map_only(
                    Tensor,
                    lambda v: v.new_empty(()).expand(steps * v.shape[0], *v.shape[1:]),
                    value,
                )
            return value

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), stand_in)
        return call_node(self.network, node, args, kwargs)

    def _plain_shape(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        """Sizes as they are for the batch, of values that change in time too."""

        def stand_in(source: fx.Node) -> Any:
            if source.meta["role"] not in IN_TIME:
                return self.static[source]
            return pytree.tree_map_only(
                Tensor,
                lambda v: v.new_empty(()).expand(v.shape[0] // steps, *v.shape[1:]),
                values[source],
            )

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), stand_in)
        return call_node(self.network, node, args, kwargs)

    def _call_static(self, node: fx.Node) -> Any:
        """The value of a node that does not change in time."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.static.__getitem__)
        value = self._call(node, args, kwargs)
        if self.precision is not None:
            value = self.precision.finished(node, value)
        self.network.check_guard(node, value)
        return value


def sized_in_time(graph: fx.Graph) -> bool:
    """Whether sizes of values that change in time shape a value that does not."""
    sized: set[fx.Node] = set()
    for node in graph.nodes:
        sources = node.all_input_nodes
        if node.meta["role"] == "shape":
            if any(s in sized or s.meta["role"] in IN_TIME for s in sources):
                sized.add(node)
        elif node.meta["role"] == "static" and any(source in sized for source in sources):
            return True
    return False


def _select(structure: Any, node: fx.Node, rows: Tensor, batch: int, traced: int) -> Any:
    """The rows of what is [B, ...], or [B·F, ...] with frames or tokens folded into the batch.

    The rest is the same for all images.

    Args:
        structure: values of a node, or its state.
        node: with its shape at conversion.
        rows: to keep.
        batch: B.
        traced: B at conversion.
    """
    shape = node.meta.get("shape") or (traced,)
    folded = shape[0] // traced if shape[0] % traced == 0 else 1

    def chosen(value: Tensor) -> Tensor:
        if value.ndim and len(value) == batch:
            return value[rows]
        if value.ndim and folded > 1 and len(value) == folded * batch:
            return value.unflatten(0, (batch, folded))[rows].flatten(0, 1)
        return value

    return pytree.tree_map_only(Tensor, chosen, structure)


def map_tensors(function: Callable[..., Any], *structures: Any) -> Any:
    """Apply to the tensors at the same places of several structures; the rest (None) stays."""
    return pytree.tree_map(
        lambda *leaves: function(*leaves) if isinstance(leaves[0], Tensor) else leaves[0],
        *structures,
    )


def mean_between(start: int, end: int, until_start: Tensor, until_end: Tensor) -> Tensor:
    """The mean over timesteps start + 1 to end from those over 1 to start and 1 to end."""
    return (until_end * end - until_start * start) / (end - start)
