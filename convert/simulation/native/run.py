"""The time loop on the native CPU engine: packed spikes from neuron to neuron.

Neurons run in the graph's order. Everything between them is part of a neuron's synapses (see
``plan.py``) or is computed by torch when a neuron or the output asks for it. Neurons and pools that
the engine does not take for the images of a call are left to torch too, one by one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.memory_format import takes_channels_last
from spikeport.convert.graph.nodes import location, module_of
from spikeport.convert.graph.roles import IN_TIME
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input
from spikeport.convert.simulation.emitted import Watcher
from spikeport.convert.simulation.native.buffers import Buffers
from spikeport.convert.simulation.native.density import dense_above
from spikeport.convert.simulation.native.layers import NativeLayer, layers_of
from spikeport.convert.simulation.native.layouts import (
    as_maps,
    shape_of,
    without_sides,
)
from spikeport.convert.simulation.native.packed_spikes import PackedSpikes
from spikeport.convert.simulation.native.plan import (
    Current,
    Part,
    Spikes,
    Weighted,
    geometry,
    pool_geometry,
    runs_in_order,
    source_of,
)
from spikeport.convert.simulation.run import Run
from spikeport.cpu.fresh import filled
from spikeport.cpu.loader import Unsuited
from spikeport.cpu.maxpool import max_pool
from spikeport.cpu.streams import Stream

CHUNK = 32  # timesteps: enough to use every weight often while it is in the cache
SLICE_BYTES = 16 * 2**20  # of a tensor that torch computes for a part of a chunk


class NativeRun(Run):
    """One presentation of one batch, on the engine."""

    def __init__(self, network: SpikingGraph, x: Input, watch: Watcher | None) -> None:
        with _in_float32():
            super().__init__(network, x, watch)
        self.layers = layers_of(network)
        self.plan, self.left = self.layers.plan(), frozenset[fx.Node]()
        self.streams: dict[fx.Node, Stream] = {}
        self.dense: dict[fx.Node, set[fx.Node]] = {}  # neuron: its weighted inputs left to torch
        self.buffers = Buffers(reuse=watch is None)
        self.built: dict[fx.Node, NativeLayer] = {}
        self.split: dict[fx.Node, int] = {}
        self.fixed: dict[fx.Node, Tensor] = {}  # static currents, channels last

    def default_chunk(self) -> int:
        """Timesteps at once where the caller leaves it open."""
        torch_only = [
            node
            for node in self.nodes
            if node.meta["role"] in ("neuron", "difference") and node not in self.plan.packed
        ]
        loose = [
            part
            for parts in self.plan.parts.values()
            for part in parts
            if isinstance(part, Current) and not part.static
        ]
        if torch_only or loose:
            return super().default_chunk()
        return CHUNK

    def keep(self, rows: Tensor) -> None:
        """See ``Run.keep``."""
        super().keep(rows)
        self.fixed.clear()
        for node in self.state.keys() & self.plan.parts.keys():
            self.state[node].keep(rows)

    @torch.no_grad()
    def advance(self, steps: int, marks: Sequence[int] = ()) -> Any:
        """Simulate the next timesteps; see ``Run.advance``."""
        with _in_float32():
            return self._advance(steps, marks)

    def _advance(self, steps: int, marks: Sequence[int]) -> Any:
        self.present(steps)
        values: dict[fx.Node, Any] = {}
        outputs = None
        for place, node in enumerate(self.nodes):
            if not runs_in_order(node):
                continue
            if node.meta["role"] == "output":
                for source in self.readout.sources if self.readout else ():
                    self._collect(source, values, steps, marks)
                outputs = self._outputs(values, steps, marks)
            elif node.meta["role"] not in ("neuron", "difference"):  # a guard, on sizes
                if self.time == 0:
                    self._check_decision(node, values, steps)
            elif node not in self.plan.packed or not self._on_engine(node, values, steps):
                for source in node.all_input_nodes:
                    self._compute(source, values, steps)
                values[node] = self._in_time(node, values, steps)
            self._forget(place, values)
        self.time += steps
        return outputs

    def _on_engine(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> bool:
        """Run a neuron layer or a pool; False where torch has to, in this and all later chunks.

        That depends on sizes and types only, and so is known in the first chunk.
        """
        try:
            if node in self.plan.parts:
                self._fire(node, values, steps)
            else:
                self._pool(node)
        except Unsuited:
            if self.time > 0:
                raise
            self.left |= {node}
            self.plan = self.layers.plan(self.left)  # the nodes before it are as they were
            return False
        return True

    def _forget(self, place: int, values: dict[fx.Node, Any]) -> None:
        for node in [node for node in values if self.plan.last_use[node] <= place]:
            del values[node]
        for node in [node for node in self.streams if self.plan.last_use[node] <= place]:
            self.buffers.give_back(self.streams.pop(node))

    def _fire(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> None:
        """Run a neuron layer over the chunk."""
        parts = self.plan.parts[node]
        dense = self._dense_parts(node, parts)
        native: list[Part] = [part for part in parts if part not in dense]
        if node not in self.built:
            self.built[node] = self.layers.get(node, native, self.streams)
        built = self.built[node]
        streams = [self.streams[source] for source in built.sources]
        fixed = [self._fixed(p.node) for p in parts if isinstance(p, Current) and p.static]
        loose = [
            self._numbers(p.node, as_maps(self._unfold(p.node, values, steps)))
            for p in parts
            if isinstance(p, Current) and not p.static
        ]
        batch, height, width = self._output_shape(native, dense, [*fixed, *loose])
        if min(height, width) < 1:
            raise Unsuited(f"the maps of '{node.name}' are empty")  # torch says why
        step = steps
        if dense:
            per_step = 4 * built.layer.channels * batch * height * width
            step = max(1, min(steps, SLICE_BYTES // per_step))
        if node not in self.split:
            self.split[node] = built.layer.split_for(streams)
        levels = built.layer.levels
        out = self.buffers.take((batch, height, width), steps, built.layer.channels, levels)
        state = self.state.get(node)
        keep = not (self.time == 0 and step == steps == self.wanted)
        for begin in range(0, steps, step):
            span = (begin, min(begin + step, steps))
            currents = [*fixed, *(current[slice(*span)] for current in loose)]
            currents += [self._dense(part, *span) for part in dense]
            currents += self._correction(node, span, (batch, height, width))
            out, state = built.layer.run(
                streams,
                currents,
                state,
                (steps, batch, height, width),
                part=span,
                out=out,
                keep=keep,
                split=self.split[node],
            )
        self.streams[node], self.state[node] = out, state
        self._show_packed(node)

    def _correction(
        self, node: fx.Node, span: tuple[int, int], sizes: tuple[int, int, int]
    ) -> list[Tensor]:
        """The neurons' own current at timesteps [begin, end) of the chunk, if there is any."""
        begin, end = (self.time + time for time in span)
        rows = self.network.neuron(str(node.target)).correction.detach()[begin:end]
        if not len(rows):
            return []
        rows = torch.cat([rows, rows.new_zeros(end - begin - len(rows), rows.shape[1])])
        batch, height, width = sizes
        return [rows[:, None, :, None, None].expand(-1, batch, -1, height, width)]

    def _dense_parts(self, node: fx.Node, parts: list[Part]) -> list[Weighted]:
        """The weighted inputs whose spikes are too many; decided in the first chunk."""
        if node not in self.dense:
            self.dense[node] = {
                part.node
                for part in parts
                if isinstance(part, Weighted) and (self._pools(part) or self._too_many(part))
            }
        return [p for p in parts if isinstance(p, Weighted) and p.node in self.dense[node]]

    def _pools(self, part: Weighted) -> bool:
        """Whether an average pool before a layer does not fit the maps of this call."""
        sizes = [(wire, self.streams[wire.source].size) for wire in part.wires]
        return any(self.layers.window(wire, size) is None for wire, size in sizes)

    def _too_many(self, part: Weighted) -> bool:
        layer: Any = self.network.get_submodule(str(part.node.target))
        streams = [self.streams[wire.source] for wire in part.wires]
        sizes = [stream.bits[..., 0, :, :].numel() for stream in streams]
        mean = sum(s.density * n for s, n in zip(streams, sizes, strict=True)) / sum(sizes)
        return mean > max(dense_above(layer, stream.levels) for stream in streams)

    def _dense(self, part: Weighted, begin: int, end: int) -> Tensor:
        """The current of a weighted layer at timesteps [begin, end), by torch."""
        values: dict[fx.Node, Any] = {}
        kept = self.streams
        self.streams = {
            source: kept[source].between(begin, end)
            for source in {wire.source for wire in part.wires}
        }
        try:
            return as_maps(self._unfold(part.node, values, end - begin))
        finally:
            self.streams = kept

    def _output_shape(
        self, native: Sequence[Part], dense: Sequence[Weighted], currents: Sequence[Tensor]
    ) -> tuple[int, int, int]:
        """(B, H, W) of a layer, from any of its inputs."""
        if currents:
            return (currents[0].shape[1], *currents[0].shape[3:])
        for part in (*native, *dense):
            if isinstance(part, Spikes):
                stream = self.streams[part.source]
                return (stream.batch, *stream.size)
            if isinstance(part, Weighted):
                wire = part.wires[0]
                stream = self.streams[wire.source]
                layer: Any = self.network.get_submodule(str(part.node.target))
                if isinstance(layer, nn.Linear):
                    return stream.batch, 1, 1
                window = self.layers.window(wire, stream.size)
                if window is not None:
                    size = (stream.size[0] // window[0], stream.size[1] // window[1])
                    return (stream.batch, *geometry(layer, size).output_size(*size))
        if not dense:
            raise Unsuited("no input tells the size of the output")
        current = self._dense(dense[0], 0, 1)  # pooled by torch
        return (current.shape[1], *current.shape[3:])

    def _fixed(self, node: fx.Node) -> Tensor:
        """A current that is the same at every timestep, [1, B, C, H, W]."""
        if node not in self.fixed:
            if node not in self.static:
                raise Unsuited(f"the value of '{node.name}' changes in time")
            value, batch = self.static[node], len(self.x)
            if value.ndim < 3 or value.shape[0] != batch:
                value = value.expand(batch, *value.shape[-len(node.meta["shape"]) + 1 :])
            self.fixed[node] = self._numbers(node, as_maps(value[None]))
        return self.fixed[node]

    def _numbers(self, node: fx.Node, current: Tensor) -> Tensor:
        """The current, if it holds no NaN, which neurons of torch hand on and spikes cannot."""
        if not bool(current.isnan().any()):
            return current
        if self.time == 0:
            raise Unsuited(f"the value of '{node.name}' holds NaN")
        raise ConversionError(
            f"the value of '{node.name}' in {location(node)} holds NaN, not before timestep "
            f"{self.time + 1}; use backend 'torch' to see where it comes from"
        )

    def _pool(self, node: fx.Node) -> None:
        source = self.streams[source_of(node)]
        pool: Any = self.network.get_submodule(str(node.target))
        single = filled([1, *shape_of(source, _rank(node))], 0.0)[:, :1]
        height, width = as_maps(pool(single)[None]).shape[3:]
        pooled, self.state[node] = max_pool(
            source, pool_geometry(pool), (height, width), self.state.get(node)
        )
        self.streams[node] = pooled
        self._show_packed(node)

    def _show_packed(self, node: fx.Node) -> None:
        self._show(node, self._emitted(node))

    def _emitted(self, node: fx.Node) -> PackedSpikes:
        value = self.layers.value(node)
        return PackedSpikes(self.streams[node], value, self.time, _rank(node))

    def _sum(
        self, node: fx.Node, values: dict[fx.Node, Any], steps: int, span: tuple[int, int]
    ) -> Any:
        if node in self.streams:
            return self.streams[node].sums(*span)
        self._compute(node, values, steps)
        return super()._sum(node, values, steps, span)

    def _mean(self, node: fx.Node, total: Any, timesteps: int) -> Any:
        if node not in self.plan.packed:
            return super()._mean(node, total, timesteps)
        value = self.layers.value(node).view(-1, 1, 1)
        if self.precision is not None:
            mean = total.double() * value / timesteps
        else:
            mean = total * (value / timesteps)
        return without_sides(mean, _rank(node))

    def _unfold(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        self._compute(node, values, steps)
        return super()._unfold(node, values, steps)

    def _compute(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> None:
        """Make sure that the value of a node that changes in time is there, [t·B, ...]."""
        role = node.meta["role"]
        if node in values or (node in self.static and role != "shape"):
            return
        if node in self.streams:
            values[node] = self._emitted(node).values().flatten(0, 1)
            return
        if role == "shape":  # sizes are those of the folded batch, whatever they are of
            self._compute_shape(node, values, steps)
            return
        assert role in IN_TIME, node
        for source in node.all_input_nodes:
            self._compute(source, values, steps)
        values[node] = self._in_time(node, values, steps)

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        module = module_of(node, self.network)
        if node.meta["role"] == "weighted" and not takes_channels_last(module):
            sources = [source for source in node.all_input_nodes if source in values]
            values = values | {source: values[source].contiguous() for source in sources}
        return super()._in_time(node, values, steps)

    def _check_decision(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> None:
        """Evaluate a guard on silent stand-ins: only sizes matter, and two timesteps show them."""
        few = min(steps, 2)
        silent: dict[fx.Node, Any] = {
            known: pytree.tree_map_only(
                Tensor, lambda v: v.new_zeros(few * len(v) // steps, *v.shape[1:]), value
            )
            for known, value in values.items()
            if known.meta["role"] in IN_TIME
        }
        for source, stream in self.streams.items():
            shape = shape_of(stream, _rank(source))
            silent[source] = filled([few * stream.batch, *shape], 0.0)
        self._compute(node, silent, few)

    def _compute_shape(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> None:
        """Sizes of packed values are known without unpacking them."""
        stand_ins = dict(values)
        for source in node.all_input_nodes:
            if source in self.streams and source not in values:
                stream = self.streams[source]
                shape = shape_of(stream, _rank(source))
                stand_ins[source] = filled([], 0.0).expand(steps * stream.batch, *shape)
            else:
                self._compute(source, values, steps)
                if source in values:
                    stand_ins[source] = values[source]
        values[node] = self._folded_shape(node, stand_ins, steps)
        if node not in self.static:  # where it is, the decision has been checked
            self.network.check_guard(node, values[node])


def _rank(node: fx.Node) -> int:
    """The rank of a node's value, [B, C, ...]."""
    return len(node.meta["shape"])


def _in_float32() -> torch.autocast:
    """The engine's arithmetic, also for what torch computes for it inside the user's autocast."""
    return torch.autocast("cpu", enabled=False)
