"""The time loop: one graph, read as a spiking network.

Time is folded into the batch, [T·B, ...] with T outermost, so that stateless layers see one big
batch; only neurons and difference ops unfold it. Long runs go in chunks of timesteps that carry
the state, so memory depends on the chunk and not on T. What depends on the input alone is
computed once.

A difference op (after Li & Zeng 2022 for max pooling, and Huang et al. 2024, "Towards
High-performance Spiking Transformers from ANN to SNN Conversion", for any function) evaluates F
on the running mean m of its inputs and emits ``y_t = t·F(m_t) − (t−1)·F(m_{t−1})``: the mean of y
over T timesteps is exactly F(m_T).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph import call_node
from spikeport.convert.roles import IN_TIME, homogeneous

if TYPE_CHECKING:
    from spikeport.convert.network import SpikingNetwork

Observer = Callable[[str, Tensor, int], None]
CHUNK_BYTES = 16 * 2**20  # of the largest tensor; larger ones miss the cache and are slower


def simulate(
    network: "SpikingNetwork",
    x: Tensor,
    timesteps: int,
    chunk: int | None = None,
    observe: Observer | None = None,
) -> Iterator[Any]:
    """Run the network on a constant input current.

    Args:
        network: calibrated.
        x: [B, C, ...], presented at every timestep.
        timesteps: T >= 1.
        chunk: timesteps simulated at once; by default as many as fit CHUNK_BYTES.
        observe: called as ``observe(name, emitted, first)`` with what each neuron and each
            max-pool of spikes emitted in a chunk or a part of it, [t, B, ...], and the number of
            timesteps before that.

    Yields:
        For each chunk the outputs at its timesteps, [t, B, ...], in the source network's
        structure. Their mean over all timesteps is the decoded output.
    """
    from spikeport.convert.native import start  # which is built on this file

    run = start(network, x, observe) or _Run(network, x, observe)
    chunk = chunk or run.default_chunk()
    while run.time < timesteps:
        yield run.advance(min(chunk, timesteps - run.time))


def _chunk_size(network: "SpikingNetwork", x: Tensor) -> int:
    shapes = [
        node.meta["shape"]
        for node in network.graph.nodes
        if node.meta["role"] in IN_TIME and node.meta.get("shape")
    ]
    traced = max((torch.Size(shape).numel() for shape in shapes), default=1)
    largest = traced * x.numel() / torch.Size(network.traced_shape).numel()
    return max(1, int(CHUNK_BYTES / (largest * x.element_size())))


class _Run:
    """One presentation of one batch."""

    def __init__(self, network: "SpikingNetwork", x: Tensor, observe: Observer | None) -> None:
        self.network, self.observe = network, observe
        self.time = 0
        self.state: dict[fx.Node, Any] = {}
        self.static: dict[fx.Node, Any] = {}
        self.nodes = list(network.graph.nodes)
        self.last_use = {source: node for node in self.nodes for source in node.all_input_nodes}
        for node in self.nodes:
            if node.meta["role"] == "input":
                self.static[node] = x
            elif all(source in self.static for source in node.all_input_nodes) and node.meta[
                "role"
            ] in ("constant", "shape", "static"):
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.static.__getitem__)
                self.static[node] = call_node(network, node, args, kwargs)
                network.check_guard(node, self.static[node])

    def default_chunk(self) -> int:
        """Timesteps at once where the caller leaves it open."""
        return _chunk_size(self.network, self.static[self.nodes[0]])

    def advance(self, steps: int) -> Any:
        """Simulate the next timesteps; returns the outputs at each."""
        values: dict[fx.Node, Any] = {}
        for node in self.nodes:
            role = node.meta["role"]
            if role == "shape":
                values[node] = self._folded_shape(node, values, steps)
                self.network.check_guard(node, values[node])
            elif role == "output":
                outputs = fx.node.map_arg(node.args[0], lambda n: self._unfold(n, values, steps))
            elif role in IN_TIME:
                values[node] = self._in_time(node, values, steps)
            for source in node.all_input_nodes:
                if self.last_use[source] is node:
                    values.pop(source, None)
        self.time += steps
        return outputs

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        role = node.meta["role"]
        if role == "neuron":
            current = self._unfold(node.args[0], values, steps)
            out, self.state[node] = self.network.get_submodule(node.target)(
                current, self.state.get(node)
            )
            self._show(node, out)
            return out.flatten(0, 1)
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda n: self._folded(n, values, steps)
        )
        if role == "difference":
            return self._difference(node, args, kwargs, steps)
        return call_node(self.network, node, args, kwargs)

    def _difference(self, node: fx.Node, args: Any, kwargs: Any, steps: int) -> Tensor:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        names = pytree.tree_leaves((node.args, node.kwargs))
        sums, previous = self.state.get(node, ({}, 0.0))
        whole = homogeneous(node)
        for index, source in enumerate(names):
            if not isinstance(source, fx.Node) or source.meta["role"] not in IN_TIME:
                continue
            total = leaves[index].unflatten(0, (steps, -1)).cumsum(0) + sums.get(index, 0.0)
            sums[index] = total[-1]
            mean = total if whole else total / self._times(total, steps)
            leaves[index] = mean.flatten(0, 1)
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        at_mean = call_node(self.network, node, args, kwargs).unflatten(0, (steps, -1))
        sum_now = at_mean if whole else at_mean * self._times(at_mean, steps)
        before = torch.cat([torch.zeros_like(sum_now[:1]) + previous, sum_now[:-1]])
        self.state[node] = (sums, sum_now[-1])
        emitted = sum_now - before
        if node.meta["spikes"]:
            self._show(node, emitted)
        return emitted.flatten(0, 1)

    def _times(self, like: Tensor, steps: int) -> Tensor:
        """1-based timesteps of this chunk, shaped to broadcast against [t, B, ...]."""
        times = torch.arange(self.time + 1, self.time + steps + 1, device=like.device)
        return times.to(like.dtype).view([-1] + [1] * (like.ndim - 1))

    def _show(self, node: fx.Node, emitted: Tensor, offset: int = 0) -> None:
        """Report what a node emitted from ``offset`` timesteps into the chunk on."""
        if self.observe is not None:
            name = node.name if node.op != "call_module" else str(node.target)
            self.observe(name, emitted, self.time + offset)

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


def require_timesteps(timesteps: Any) -> int:
    """The number of timesteps, if it is one; raises ConversionError otherwise."""
    if isinstance(timesteps, bool) or not isinstance(timesteps, int) or timesteps < 1:
        raise ConversionError(f"timesteps is {timesteps!r}; expected an int >= 1")
    return timesteps
