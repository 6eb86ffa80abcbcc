"""A run of all timesteps at once, whose rest can be run again with other values."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.nodes import call_node
from spikeport.convert.inputs import Input
from spikeport.convert.outputs import flat, tensors
from spikeport.convert.simulation.run import Run

Seen = Callable[[fx.Node, Tensor], None]


class WholeRun(Run):
    """All timesteps of one batch on torch, in one chunk.

    Args:
        network: calibrated.
        x: [B, C, ...].
        timesteps: T.
        start: timesteps that the readout leaves out.
        fired: called with each neuron node and its events, [T, B, ...], activation units.
        swaps: exact values for some nodes, folded [T·B, ...], computed from the run's own values
            before them; for each one the rest of the network is run again.

    Attributes:
        means: of what each neuron and each difference op gave over the timesteps after ``start``,
            a list with one [B, ...] for each tensor.
        swapped: output of the run with exact values at a node, [B, N].
    """

    def __init__(
        self,
        network: SpikingNetwork,
        x: Input,
        timesteps: int,
        start: int = 0,
        fired: Seen | None = None,
        swaps: "dict[fx.Node, Swap] | None" = None,
    ) -> None:
        super().__init__(network, x, None)
        self.timesteps, self.start, self.fired = timesteps, start, fired
        self.swaps = swaps or {}
        self.emitted: dict[fx.Node, list[Tensor]] = {}
        self.swapped: dict[fx.Node, Tensor] = {}

    def output(self) -> Tensor:
        """Simulate; the decoded output, [B, N]."""
        for node, swap in self.swaps.items():
            if node in self.static:
                self.swapped[node] = self._again(node, {}, swap(self, {}))
        return self._decode(self.resume(self.nodes, {}, self.timesteps))

    def mean(self, folded: Tensor) -> Tensor:
        """The mean of [T·B, ...] over the timesteps of the readout, [B, ...]."""
        return folded.unflatten(0, (self.timesteps, -1))[self.start :].mean(0)

    def _decode(self, outputs: Any) -> Tensor:
        return flat(pytree.tree_map_only(Tensor, lambda v: v[self.start :].mean(0), outputs))

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        if node in self.swaps:
            self.swapped[node] = self._again(node, values, self.swaps[node](self, values))
        value = super()._in_time(node, values, steps)
        if node.meta["role"] in ("neuron", "difference"):
            leaves = tensors(value)
            self.emitted[node] = [self.mean(leaf) for leaf in leaves]
        if node.meta["role"] == "neuron" and self.fired is not None:
            out = value.unflatten(0, (steps, -1))
            self.fired(node, self.network.neuron(str(node.target)).events(out, None))
        return value

    def _again(self, node: fx.Node, values: dict[fx.Node, Any], exact: Any) -> Tensor:
        """The output with an exact value at a node, from there on."""
        other = copy.copy(self)
        other.state, other.fired, other.swaps, other.emitted = {}, None, {}, {}
        rest = self.nodes[self.nodes.index(node) + 1 :]
        if node not in self.static:
            return self._decode(other.resume(rest, {**values, node: exact}, self.timesteps))
        other.static = {**self.static, node: exact}
        for later in rest:
            if later in self.static and later.meta["role"] != "input":
                args, kwargs = fx.node.map_arg((later.args, later.kwargs), other.static.__getitem__)
                other.static[later] = call_node(self.network, later, args, kwargs)
        return self._decode(other.resume(self.nodes, {}, self.timesteps))


Swap = Callable[[WholeRun, dict[fx.Node, Any]], Any]


def exact_activation(node: fx.Node, reference: SpikingNetwork, other: fx.Node) -> Swap:
    """A neuron layer that adds no error at any timestep: what it has emitted is always exact.

    As a difference op it emits ``t·F(m_t) − (t−1)·F(m_{t−1})`` for the activation F and the running
    mean m of its current. Its own timing is gone, that of the layers before it stays: emitting the
    final mean at every timestep would undo their unevenness too.
    """

    def swap(run: WholeRun, values: dict[fx.Node, Any]) -> Tensor:
        current = run._unfold(node.args[0], values, run.timesteps)
        times = run._times(current, run.timesteps)
        mean = (current.cumsum(0) / times).flatten(0, 1)
        total = times * reference.neuron(str(other.target)).analog(mean).view_as(current)
        before = torch.cat([torch.zeros_like(total[:1]), total[:-1]])
        return (total - before).flatten(0, 1)

    return swap


def reference_operation(reference: Run, other: fx.Node, pairs: dict[fx.Node, fx.Node]) -> Swap:
    """The reference's value at a node, on the values that the node reads in the network.

    Args:
        reference: a run of the reference on the same images, not begun.
        other: the reference's node.
        pairs: the reference's node for each of the network's.
    """

    def swap(run: WholeRun, values: dict[fx.Node, Any]) -> Any:
        reference.static = {pairs[node]: value for node, value in run.static.items()}
        if other in reference.static:
            args, kwargs = fx.node.map_arg((other.args, other.kwargs), reference.static.__getitem__)
            return call_node(reference.network, other, args, kwargs)
        theirs = {pairs[node]: value for node, value in values.items()}
        return reference._in_time(other, theirs, run.timesteps)

    return swap
