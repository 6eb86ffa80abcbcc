"""Spike counts through the operations between a neuron and a weighted layer."""

import math
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from spikeport.convert.graph.nodes import call_node
from spikeport.convert.graph.ops import SLOPED
from spikeport.convert.graph.same_padding import SamePadded, pad_same
from spikeport.convert.graph.spiking_graph import SpikingGraph

SUMS_EVENTS = {"add", "sub", "rsub"}
KEEPS_EVENTS = {
    "neg",
    "mul",
    "multiply",
    "div",
    "truediv",
    "true_divide",
    "divide",
    "to",
    "float",
    "half",
    "double",
    "type",
    "type_as",
}


def pass_events(
    network: SpikingGraph, node: fx.Node, values: dict[fx.Node, Any], events: dict[fx.Node, Any]
) -> Any:
    """Number of spikes that arrive at each position of a linear node's output.

    Args:
        network: whose graph holds the node.
        node: linear in time, all its inputs that change in time consist of spikes.
        values: values of the nodes before it, for one image.
        events: spike counts of the nodes before it, [1, C, ...], float64.
    """
    op = node.meta["op"]
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    counts = [events[leaf] for leaf in leaves if isinstance(leaf, fx.Node) and leaf in events]
    if op in SUMS_EVENTS:
        total = counts[0]
        for count in counts[1:]:
            total = total + count
        return total
    if op in KEEPS_EVENTS | SLOPED:
        return counts[0]
    if op.startswith(("avg_pool", "adaptive_avg_pool")) or op == "mean":
        return _summed(network, node, counts[0])
    args, kwargs = fx.node.map_arg(
        (node.args, node.kwargs), lambda source: events.get(source, values[source])
    )
    return call_node(network, node, args, kwargs)


def _summed(network: SpikingGraph, node: fx.Node, count: Tensor) -> Tensor:
    """An average pool delivers every spike of its window."""
    op = node.meta["op"]
    if op == "mean":
        dims = node.args[1] if len(node.args) > 1 else node.kwargs["dim"]
        keep = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
        return count.sum(dims, keep)
    if op.startswith("adaptive"):
        return _adaptive_sum(network, node, count)
    options = _pool_options(network, node)
    spatial = int(op[-2])
    if options.pop("same", None) is not None:
        count = pad_same(count, network.get_submodule(str(node.target)), 0.0)
    if spatial == 1:
        wide: dict[str, Any] = {
            key: (1, _single(value)) if key != "padding" else (0, _single(value))
            for key, value in options.items()
            if key != "ceil_mode" and value is not None
        }
        return F.avg_pool2d(
            count.unsqueeze(-2), **wide, ceil_mode=bool(options["ceil_mode"]), divisor_override=1
        ).squeeze(-2)
    pool = F.avg_pool2d if spatial == 2 else F.avg_pool3d
    return pool(count, **options, divisor_override=1)


def _pool_options(network: SpikingGraph, node: fx.Node) -> dict[str, Any]:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        found = {
            name: getattr(module, name)
            for name in ("kernel_size", "stride", "padding", "ceil_mode")
        }
        return found | {"padding": 0, "same": True} if isinstance(module, SamePadded) else found
    names = ("kernel_size", "stride", "padding", "ceil_mode")
    standard = {"stride": None, "padding": 0, "ceil_mode": False}
    given = dict(zip(names, node.args[1:], strict=False))
    return standard | given | {key: value for key, value in node.kwargs.items() if key in names}


def _single(value: Any) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value


def _adaptive_sum(network: SpikingGraph, node: fx.Node, count: Tensor) -> Tensor:
    if node.op == "call_module":
        pooled = network.get_submodule(str(node.target))(count)
    else:
        pooled = node.target(
            count,
            *node.args[1:],
            **{key: value for key, value in node.kwargs.items() if key != "input"},
        )
    spatial = int(node.meta["op"][-2])
    for dim in range(-spatial, 0):
        sizes = _window_sizes(count.shape[dim], pooled.shape[dim]).to(count)
        pooled = pooled * sizes.view([-1] + [1] * (-dim - 1))
    return pooled


def _window_sizes(size: int, out: int) -> Tensor:
    """Lengths of adaptive pooling's windows [floor(i·n/m), ceil((i+1)·n/m))."""
    return torch.tensor([math.ceil((i + 1) * size / out) - i * size // out for i in range(out)])
