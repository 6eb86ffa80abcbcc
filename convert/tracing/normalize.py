"""Bring a traced graph to a canonical form: fewer kinds of nodes, the same numbers.

After it, convolutions and linear layers are modules, batch norms are folded into them (or are a
``ChannelAffine``), nothing writes in place, and what does not depend on the input is a buffer.
"""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.channel_affine import ChannelAffine
from spikeport.convert.graph.group_norm import open_function
from spikeport.convert.graph.nodes import (
    attribute,
    call_node,
    eliminate_dead,
    location,
    module_of,
    place,
    place_tensor,
    unique,
)
from spikeport.convert.graph.operations.table import call_of, operation_name, row_named, row_of
from spikeport.convert.tracing.handwritten_clamps import write_clamps
from spikeport.convert.tracing.lift_products import lift_products
from spikeport.convert.tracing.straight_through import cancel_sums

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def normalize(graph: fx.Graph, root: nn.Module) -> None:
    """Apply every rewrite of this file, in order, in place.

    Raises:
        ConversionError: a batch norm without running statistics.
    """
    for node in graph.nodes:
        if node.op == "call_module" and node.kwargs:
            _by_position(node, root)
        if node.op not in ("placeholder", "get_attr", "output"):
            node.meta["op"] = operation_name(node, module_of(node, root))
            _name_pairs(node)
        open_function(node)
        a_view = node.op == "call_method" and node.target == "view"
        if a_view and not isinstance(node.args[-1], torch.dtype):
            node.target = "reshape"  # a value of another memory layout may take this one's place
    _drop_identities(graph)
    _drop_double_transposes(graph)
    cancel_sums(graph)
    _fold_constants(graph, root)
    write_clamps(graph, root)
    _lift_functional_layers(graph, root)
    lift_products(graph, root)
    _fold_batch_norms(graph, root)
    eliminate_dead(graph)
    graph.lint()


def _name_pairs(node: fx.Node) -> None:
    """Write what is another operation on two tensors (``max`` and ``min``) under its own name."""
    row = row_of(node)
    other = node.args[1] if len(node.args) > 1 else node.kwargs.get("other")
    if row is not None and row.of_two and isinstance(other, fx.Node):
        name = row.of_two[str(getattr(node.target, "__name__", node.target))]
        node.op, node.target, node.meta["op"] = "call_function", getattr(torch, name), name
        node.args, node.kwargs = (node.args[0] if node.args else node.kwargs["input"], other), {}


def _by_position(node: fx.Node, root: nn.Module) -> None:
    """Give a layer its arguments in order, however the code names them."""
    forward = root.get_submodule(str(node.target)).forward
    try:
        bound = inspect.signature(forward).bind(*node.args, **node.kwargs)
    except (TypeError, ValueError):  # another number of arguments than it takes: torch will say so
        return
    node.args, node.kwargs = bound.args, bound.kwargs


def _drop_double_transposes(graph: fx.Graph) -> None:
    """Drop pairs of transposes, which models put around a layer that is batch-first here."""
    for node in list(graph.nodes):
        source = node.args[0] if node.args else None
        if (
            isinstance(source, fx.Node)
            and row_of(node) is row_of(source) is row_named("transpose")
            and len(node.args) == 3
            and set(node.args[1:]) == set(source.args[1:])
        ):
            node.replace_all_uses_with(source.args[0])
            graph.erase_node(node)


@torch.no_grad()
def _fold_constants(graph: fx.Graph, root: nn.Module) -> None:
    """Weight standardisation and the like: computed once, kept as a buffer."""
    values: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "call_method" and node.target == "type_as" and node.args[0] in values:
            # only the other's type counts, which is the same for every image
            node.target, node.args = "to", (node.args[0], node.args[1].meta["value"].dtype)
        if _is_fact(node):
            values[node] = node.meta["value"]  # the same for every image
        elif node.op in ("placeholder", "output") or any(
            source not in values for source in node.all_input_nodes
        ):
            continue
        else:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = call_node(root, node, args, kwargs)
    for node, value in values.items():
        outside = [user for user in node.users if user not in values]
        if node.op == "get_attr" or _is_fact(node) or not outside:
            continue
        if isinstance(value, Tensor):
            name = unique(root, f"{node.meta['path']}.{node.name}".lstrip("."))
            place_tensor(root, name, value.detach())
            with graph.inserting_after(node):
                new = graph.get_attr(name)
            new.meta = {"value": value, "path": node.meta["path"]}
            for user in outside:
                user.replace_input_with(node, new)
        else:
            for user in outside:
                user.args, user.kwargs = fx.node.map_arg(
                    (user.args, user.kwargs), lambda n, at=node, v=value: v if n is at else n
                )
    eliminate_dead(graph)


def _is_fact(node: fx.Node) -> bool:
    """Whether it reads a type or a device, which may be another one once the network is moved."""
    return node.target is getattr and node.args[1] in ("dtype", "device")


def _lift_functional_layers(graph: fx.Graph, root: nn.Module) -> None:
    """``F.conv2d(x, weight, …)`` with constant weights becomes an ``nn.Conv2d``."""
    for node in list(graph.nodes):
        layer = _lifted(node, root) if node.op == "call_function" else None
        if layer is None:
            continue
        path = _path_of_layer(graph, root, node, layer)
        place(root, path, layer.train(False))
        with graph.inserting_before(node):
            source = node.args[0] if node.args else node.kwargs["input"]
            new = graph.call_module(path, (source,))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    eliminate_dead(graph)


@torch.no_grad()
def _lifted(node: fx.Node, root: nn.Module) -> nn.Module | None:
    """The layer that a call is, if all but its input is constant."""
    constants = [source for source in node.all_input_nodes if source.op == "get_attr"]
    values = {source: attribute(root, str(source.target)) for source in constants}
    known = call_of(node, root, values)
    if known is None or known[0].lift is None:
        return None
    row, call = known
    given = [call.argument(name) for name in row.arguments[1:]]
    changes = any(isinstance(leaf, fx.Node) for leaf in pytree.tree_leaves(given))
    return None if changes or row.lift is None else row.lift(call)


def _path_of_layer(graph: fx.Graph, root: nn.Module, node: fx.Node, layer: nn.Module) -> str:
    """The path of the layer whose weights or whose code they are, unless it is called itself."""
    path = str(node.meta["path"])
    tensors = [source for source in node.all_input_nodes if source.op == "get_attr"]
    for owner in (*(str(tensor.target).rpartition(".")[0] for tensor in tensors), path):
        module = root.get_submodule(owner)
        if not isinstance(module, (nn.Linear, nn.modules.conv._ConvNd, *BATCH_NORMS)):
            continue
        loses_bias = module.bias is not None and layer.bias is None
        if not loses_bias and not _called(graph, owner) and _keeps(graph, root, owner, node, layer):
            return owner
    return unique(root, f"{path}.{node.meta['op']}".lstrip("."))


def _keeps(graph: fx.Graph, root: nn.Module, path: str, node: fx.Node, layer: nn.Module) -> bool:
    """Whether a layer in a module's place has all of its tensors that other nodes read."""
    for other in graph.nodes:
        owner, _, name = str(other.target).rpartition(".")
        if other.op == "get_attr" and owner == path and set(other.users) != {node}:
            here = getattr(layer, name, None)
            if here is None or not torch.equal(here, attribute(root, str(other.target))):
                return False
    return True


def _called(graph: fx.Graph, path: str) -> bool:
    return any(node.op == "call_module" and node.target == path for node in graph.nodes)


def _drop_identities(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        row = row_of(node)
        identity = row is not None and row.identity
        if identity and node.args and isinstance(node.args[0], fx.Node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _fold_batch_norms(graph: fx.Graph, root: nn.Module) -> None:
    """Into the layer before, where that feeds nothing else; otherwise to a ChannelAffine."""
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[node.target] = calls.get(node.target, 0) + 1
    norms = {node: module_of(node, root) for node in graph.nodes}  # one may be called twice
    for node, norm in norms.items():
        if not isinstance(norm, BATCH_NORMS):
            continue
        if norm.running_mean is None:
            raise ConversionError(
                f"{location(node)}: a batch norm without running statistics mixes the images of a "
                "batch. Train it with track_running_stats=True, or replace it by a fixed norm."
            )
        source = node.args[0]
        layer = module_of(source, root)
        fused = None
        readers = [user for user in source.users if _reads_values(user)]
        if calls.get(source.target) == 1 and readers == [node]:  # others ask for its shape
            flat = source.meta["value"].ndim == 2 or not isinstance(layer, nn.Linear)
            fused = _fused(layer, norm) if flat else None
        if fused is None:
            place(root, node.target, ChannelAffine.of_batch_norm(norm))
            node.meta["op"] = "channel_affine"
        else:
            place(root, source.target, fused)
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def _reads_values(user: fx.Node) -> bool:
    """Whether a node reads more of a tensor than its sizes."""
    leaves = pytree.tree_leaves(user.meta.get("value"))
    return user.op == "output" or any(isinstance(leaf, Tensor) for leaf in leaves)


def _fused(layer: nn.Module | None, norm: nn.modules.batchnorm._BatchNorm) -> nn.Module | None:
    if getattr(norm, "weight", None) is None:  # torch's functions want both
        norm = copy.deepcopy(norm)
        mean: Any = norm.running_mean
        norm.weight = nn.Parameter(torch.ones_like(mean))
        norm.bias = nn.Parameter(torch.zeros_like(mean))
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return fuse_conv_bn_eval(layer, norm)
    if isinstance(layer, nn.modules.conv._ConvTransposeNd) and layer.groups == 1:
        return fuse_conv_bn_eval(layer, norm, transpose=True)
    return None
