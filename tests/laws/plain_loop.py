"""The time loop in its simplest form: one pass over the graph for every timestep, no folding."""

from typing import Any

import torch
from called_node import is_changing
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input, tensors_of


@torch.no_grad()
def simulate(network: SpikingNetwork, x: Input, timesteps: int) -> list[Tensor]:
    """Present an input as a constant current; see ``simulate.py`` for the equations.

    Args:
        network: calibrated.
        x: [B, C, ...].
        timesteps: T.

    Returns:
        The tensors of the output at all timesteps, [T, B, ...] each.
    """
    states: dict[fx.Node, Any] = {}
    outputs = [_step(network, x, time, states) for time in range(1, timesteps + 1)]
    return [torch.stack(parts) for parts in zip(*outputs, strict=True)]


def _step(network: SpikingNetwork, x: Input, time: int, states: dict[fx.Node, Any]) -> list[Tensor]:
    values: dict[fx.Node, Any] = {}
    given = iter(tensors_of(x))
    for node in network.graph.nodes:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        if node.op == "placeholder":
            values[node] = next(given)
        elif node.op == "output":
            return [v for v in pytree.tree_leaves(args) if isinstance(v, Tensor)]
        elif node.meta["role"] == "neuron":
            out, states[node] = network.neuron(str(node.target))(args[0][None], states.get(node))
            values[node] = out[0]
        elif node.meta["role"] == "difference":
            values[node], states[node] = _difference(
                network, node, args, kwargs, time, states.get(node)
            )
        else:
            values[node] = _call(network, node, args, kwargs)
    raise AssertionError("no output")


def _difference(
    network: SpikingNetwork, node: fx.Node, args: Any, kwargs: Any, time: int, state: Any
) -> tuple[Any, Any]:
    """t·F(m_t) − (t−1)·F(m_{t−1}), and the sums of the inputs with the last t·F(m_t)."""
    leaves, form = pytree.tree_flatten((args, kwargs))
    sources = pytree.tree_leaves((node.args, node.kwargs))
    sums, before = state or ({}, None)
    sums = dict(sums)
    for place, source in enumerate(sources):
        if is_changing(source) and leaves[place].is_floating_point():
            sums[place] = sums.get(place, 0.0) + leaves[place]
            leaves[place] = sums[place] / time
    args, kwargs = pytree.tree_unflatten(leaves, form)
    values, structure = pytree.tree_flatten(_call(network, node, args, kwargs))
    now = [v * time if isinstance(v, Tensor) and v.is_floating_point() else v for v in values]
    before = before or [0.0] * len(now)
    emitted = [
        a - b if isinstance(a, Tensor) and a.is_floating_point() else a
        for a, b in zip(now, before, strict=True)
    ]
    return pytree.tree_unflatten(emitted, structure), (sums, now)


def _call(network: SpikingNetwork, node: fx.Node, args: Any, kwargs: Any) -> Any:
    if node.op == "get_attr":
        found: Any = network
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return found
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    if node.op == "call_module":
        return network.get_submodule(str(node.target))(*args, **kwargs)
    return node.target(*args, **kwargs)
