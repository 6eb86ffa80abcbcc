"""What each node is in time, and whether its value consists of spikes.

Roles, kept in ``node.meta["role"]``:

========== ==========================================================================
input      the network's input, the same at every timestep
signal     the network's input where an encoding makes it change
constant   a parameter or buffer
shape      sizes and what is made of them: known without data
static     depends on the input only: computed once, not T times
neuron     takes a current, emits spikes
weighted   convolution or linear layer on something that changes in time
linear     commutes with the mean over time: acts on each timestep
difference does not: acts on the running mean, emits the difference
output     what the network returns
========== ==========================================================================
"""

from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert.graph.nodes import location, module_of
from spikeport.convert.graph.ops import (
    CHOOSING,
    DIFFERENCE,
    HOMOGENEOUS,
    LINEAR,
    PRODUCT,
    SHAPE_ONLY,
    WEIGHTED,
)
from spikeport.convert.neurons import NeuronLayer

# linear, but what comes out is a weighted sum, not spikes that moved
MIXING = {
    "bmm",
    "channel_affine",
    "einsum",
    "fold",
    "masked_fill",
    "matmul",
    "mm",
    "set_item",
    "unfold",
    "where",
}
IN_TIME = ("signal", "neuron", "weighted", "linear", "difference")


def assign_roles(graph: fx.Graph, root: nn.Module) -> list[str]:
    """Set ``meta["role"]`` and ``meta["spikes"]`` on every node.

    Returns:
        One line for each node that has no spiking form, with its module path; empty if all do.
    """
    unsupported = []
    for node in graph.nodes:
        node.meta["role"] = _role(node, root)
        node.meta["spikes"] = node.meta["role"] in IN_TIME and _carries_spikes(node, root)
        if node.meta["role"] == "unsupported":
            unsupported.append(f"'{node.meta['op']}' in {location(node)} (node '{node.name}')")
    return unsupported


def assign_roles_in_time(graph: fx.Graph, root: nn.Module, spikes: bool) -> list[str]:
    """Change the roles of a graph with roles for an input that changes from timestep to timestep.

    Args:
        graph: with the roles of ``assign_roles``; its nodes' metadata are changed.
        root: holds its modules.
        spikes: whether the input consists of spikes.

    Returns:
        As ``assign_roles``.
    """
    unsupported = []
    for node in graph.nodes:
        if node.meta["role"] == "input":
            node.meta.update(role="signal", op="signal", spikes=spikes)
        elif node.meta["role"] in ("static", "linear", "difference"):
            node.meta["role"] = _role_in_time(node)
        if node.meta["role"] in IN_TIME[1:]:
            node.meta["spikes"] = _carries_spikes(node, root)
        if node.meta["role"] == "unsupported":
            unsupported.append(f"'{node.meta['op']}' in {location(node)} (node '{node.name}')")
    return unsupported


def in_time(node: Any) -> bool:
    """Whether an argument is a tensor that changes from timestep to timestep."""
    return isinstance(node, fx.Node) and node.meta["role"] in (*IN_TIME, "unsupported")


def homogeneous(node: fx.Node) -> bool:
    """Whether F(c·x) = c·F(x) for c > 0; ``maximum(x, constant)`` is not."""
    alone = node.meta["op"] == "maximum" and not all(map(in_time, node.all_input_nodes))
    return node.meta["op"] in HOMOGENEOUS and not alone


def _role(node: fx.Node, root: nn.Module) -> str:
    if node.op in ("placeholder", "output", "get_attr"):
        return {"placeholder": "input", "output": "output", "get_attr": "constant"}[node.op]
    if isinstance(module_of(node, root), NeuronLayer):
        return "neuron"
    sources = node.all_input_nodes
    if not _has_tensor(node.meta["value"]) or node.meta["op"] in SHAPE_ONLY:
        return "shape"
    if not any(source.meta["role"] in ("input", "static") or in_time(source) for source in sources):
        return "shape"
    if not any(in_time(source) for source in sources):
        return "static"
    return _role_in_time(node)


def _role_in_time(node: fx.Node) -> str:
    op = node.meta["op"]
    if op in WEIGHTED:
        on_modules = node.op == "call_module"
        return "weighted" if on_modules else "unsupported"
    if op in PRODUCT:
        changing = [arg for arg in pytree.tree_leaves((node.args, node.kwargs)) if in_time(arg)]
        if node.kwargs.get("rounding_mode"):
            return "unsupported"
        divisor = node.kwargs.get("other", node.args[-1] if node.args else None)
        by_changing = "div" in op and in_time(divisor)
        return "linear" if len(changing) == 1 and not by_changing else "difference"
    if op in CHOOSING and any(map(in_time, _choice(node))):
        return "unsupported"
    if op in LINEAR or op == "getattr":
        return "linear"
    if op in DIFFERENCE and _gives_tensors(node):
        return "difference"
    return "unsupported"


def _choice(node: fx.Node) -> list[Any]:
    """The mask or index by which a node chooses."""
    name, place = {
        "index_select": ("index", 2),
        "masked_fill": ("mask", 1),
        "where": ("condition", 1 if node.op == "call_method" else 0),
    }[node.meta["op"]]
    return [node.kwargs[name]] if name in node.kwargs else list(node.args[place : place + 1])


def _gives_tensors(node: fx.Node) -> bool:
    if "value" not in node.meta:  # a converted network's graph keeps shapes of single tensors
        return "shape" in node.meta or node.meta["role"] == "difference"
    leaves = pytree.tree_leaves(node.meta["value"])
    return all(leaf is None or isinstance(leaf, Tensor) for leaf in leaves)


def _has_tensor(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))


def _carries_spikes(node: fx.Node, root: nn.Module) -> bool:
    role, op = node.meta["role"], node.meta["op"]
    if role == "neuron":
        return True
    sources = [
        arg
        for arg in pytree.tree_leaves((node.args, node.kwargs))
        if isinstance(arg, fx.Node) and arg.meta["role"] not in ("shape", "constant")
    ]
    of_spikes = all(source.meta["spikes"] for source in sources)
    if role == "difference":
        return of_spikes and homogeneous(node)
    if op in ("interpolate", "upsample"):
        module = module_of(node, root)
        mode = node.kwargs.get("mode", "nearest") if module is None else module.mode
        return role == "linear" and of_spikes and mode == "nearest"
    adds_constant = op in ("add", "sub", "rsub") and len(sources) < 2
    return role == "linear" and of_spikes and op not in MIXING and not adds_constant
