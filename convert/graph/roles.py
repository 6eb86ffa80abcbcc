"""The role of each node in time, and whether its value consists of spikes.

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
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.operation import Operation
from spikeport.convert.graph.operations.table import call_of, row_of
from spikeport.convert.graph.random_numbers import draws
from spikeport.convert.neurons import NeuronLayer

KNOWN = ("shape", "constant")  # without data
IN_TIME = ("signal", "neuron", "weighted", "linear", "difference")


def assign_roles(graph: fx.Graph, root: nn.Module) -> list[str]:
    """Set ``meta["role"]`` and ``meta["spikes"]`` on every node.

    Returns:
        One line for each node that has no spiking form, with its module path; empty if all do.
    """
    unsupported = []
    for node in graph.nodes:
        assign_role(node, root)
        if node.meta["role"] == "unsupported":
            why = ": it draws random numbers" if draws(node) else ""
            unsupported.append(f"'{node.meta['op']}' in {location(node)} (node '{node.name}'){why}")
    return unsupported


def assign_role(node: fx.Node, root: nn.Module) -> None:
    """Set ``meta["role"]`` and ``meta["spikes"]`` on a node; those that it reads have theirs."""
    node.meta["role"] = _role(node, root)
    node.meta["spikes"] = node.meta["role"] in IN_TIME and _carries_spikes(node, root)


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
            node.meta["role"] = _role_in_time(node, root)
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
    row = row_of(node)
    return row is not None and row.spikes.homogeneous and all(map(in_time, _operands(node)))


def emits(node: fx.Node) -> bool:
    """Whether a difference operation emits spikes of its own: a max-pool of spikes.

    A rectifier with a slope does not: the neuron before it emitted them.
    """
    row = row_of(node)
    return row is not None and bool(node.meta["spikes"]) and row.spikes.selects


def _operands(node: fx.Node) -> list[fx.Node]:
    """The tensors that a node reads, without its layer's and its function's weights."""
    row = row_of(node)
    assert row is not None
    if row.spikes.selects:
        return [s for s in node.all_input_nodes if s.meta["role"] != "shape"]
    return [node.all_input_nodes[0]]


def _role(node: fx.Node, root: nn.Module) -> str:
    if node.op in ("placeholder", "output", "get_attr"):
        return {"placeholder": "input", "output": "output", "get_attr": "constant"}[node.op]
    if isinstance(module_of(node, root), NeuronLayer):
        return "neuron"
    sources, row = node.all_input_nodes, row_of(node)
    if row is None and draws(node):
        return "unsupported"
    if row is not None and row.in_time == "shape":
        return "unsupported" if _reads_values(node, root) else "shape"
    if not _has_tensor(node.meta["value"]):
        return "shape"
    if not any(source.meta["role"] in ("input", "static") or in_time(source) for source in sources):
        return "shape"
    if not any(in_time(source) for source in sources):
        return "static"
    return _role_in_time(node, root)


def _role_in_time(node: fx.Node, root: nn.Module) -> str:
    known = call_of(node, root)
    if known is None:
        return "unsupported"
    row, call = known
    if any(map(in_time, _constants(row, call))):
        return "unsupported"
    acts = row.acts(call) if row.acts is not None else row.in_time
    if acts == "weighted":
        return "weighted" if call.module is not None else "unsupported"
    if acts == "product":
        return "linear" if _is_linear(row, call) else "difference"
    if acts == "linear":
        return "linear"
    return "difference" if acts == "difference" and _gives_tensors(node) else "unsupported"


def _constants(row: Operation, call: Call) -> list[Any]:
    """The arguments that must not change in time."""
    return pytree.tree_leaves([call.given(name) for name in row.constant])


def _reads_values(node: fx.Node, root: nn.Module) -> bool:
    """Whether an operation on sizes is given values of the input too."""
    known = call_of(node, root)
    leaves = _constants(*known) if known is not None else []
    return any(isinstance(leaf, fx.Node) and leaf.meta["role"] not in KNOWN for leaf in leaves)


def _is_linear(row: Operation, call: Call) -> bool:
    """Whether only one factor of a product changes in time, one in which it is linear."""
    changing = list(filter(in_time, call.leaves()))
    named = row.linear_in or ()
    return len(changing) == 1 and (
        row.linear_in is None or any(call.given(name) is changing[0] for name in named)
    )


def _gives_tensors(node: fx.Node) -> bool:
    if "value" not in node.meta:  # a converted network's graph keeps shapes of single tensors
        return "shape" in node.meta or node.meta["role"] == "difference"
    leaves = pytree.tree_leaves(node.meta["value"])
    return all(leaf is None or isinstance(leaf, Tensor) for leaf in leaves)


def _has_tensor(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))


def _carries_spikes(node: fx.Node, root: nn.Module) -> bool:
    if node.meta["role"] == "neuron":
        return True
    sources = [
        arg
        for arg in call_leaves(node)
        if isinstance(arg, fx.Node) and arg.meta["role"] not in ("shape", "constant")
    ]
    known = call_of(node, root)
    if known is None or not all(source.meta["spikes"] for source in sources):
        return False
    row, call = known
    if node.meta["role"] == "difference":
        return row.spikes.homogeneous and homogeneous(node) and row.spikes.carries(call)
    return bool(node.meta["role"] == "linear" and row.spikes.carries(call))


def call_leaves(node: fx.Node) -> list[Any]:
    """All arguments of a node, out of their containers."""
    return pytree.tree_leaves((node.args, node.kwargs))
