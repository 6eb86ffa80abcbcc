"""Code that overwrites tensors, as a graph in which no value ever changes."""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import location, module_of
from spikeport.convert.graph.operations.spelling import (
    IN_PLACE_OPERATORS,
    function_name,
    function_named,
)
from spikeport.convert.graph.operations.table import overwrites
from spikeport.convert.graph.set_item import set_item

OVERWRITING = ("zero_", "fill_", "copy_")  # whatever was there before


def route_in_place(graph: fx.Graph, root: nn.Module) -> None:
    """Whoever reads a value after it was overwritten reads the result of the overwriting op.

    So does who reads ``x`` after ``x[index]`` was overwritten. Other views are not followed; a
    graph that goes wrong by them differs from the network, which is checked.

    Raises:
        ConversionError: an operation that exists in place only.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    latest: dict[fx.Node, fx.Node] = {}  # what stands for an overwritten value
    views: dict[fx.Node, fx.Node] = {}  # what an overwriting node returns: the view it wrote to

    def overwrite(old: fx.Node, new: fx.Node) -> None:
        latest[old] = new
        for user in list(old.users):
            if user is not new and order[user] > order[new]:
                user.replace_input_with(old, new)

    for node in list(graph.nodes):
        if not overwrites(node, root):
            continue
        overwritten, written = node.args[0] if node.args else node.kwargs["input"], node
        overwrite(overwritten, node)
        view = views[node] = views.get(overwritten, overwritten)
        while _is_view(view):
            index, source = view.args[1], view.args[0]
            while source in latest:
                source = latest[source]
            if any(user.target is set_item and user.args[0] is source for user in written.users):
                break  # ``x[index] += 1`` says it itself
            with graph.inserting_after(written):
                whole = graph.call_function(set_item, (source, index, written))
            whole.meta = {"value": source.meta["value"], "path": node.meta["path"]}
            whole.meta["op"], order[whole] = "set_item", order[node]
            overwrite(source, whole)
            view, written = view.args[0], whole
        _make_out_of_place(node, module_of(node, root))


def _is_view(node: fx.Node) -> bool:
    """Whether it is ``x[index]`` and shares its memory: a list or a tensor of indices copies."""
    if node.target is not operator.getitem or not isinstance(node.args[0].meta["value"], Tensor):
        return False
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    values = [one.meta["value"] if isinstance(one, fx.Node) else one for one in index]
    return not any(isinstance(value, (Tensor, list, bool)) for value in values)


def _make_out_of_place(node: fx.Node, module: nn.Module | None) -> None:
    target: Any = node.target
    if module is not None:
        setattr(module, "inplace", False)  # noqa: B010  it is declared as a tensor or a module
    elif node.op == "call_method" and target in OVERWRITING:
        value = 0 if target == "zero_" else [*node.args[1:], *node.kwargs.values()][0]
        node.op, node.target, node.meta["op"] = "call_function", set_item, "set_item"
        node.args, node.kwargs = (node.args[0], ..., value), {}
    elif node.op == "call_method" and not hasattr(torch.Tensor, target.rstrip("_")):
        raise ConversionError(
            f"{location(node)}: '{target}' (node '{node.name}') exists in place only; write the "
            "values that it makes with operations that return a new tensor"
        )
    elif node.op == "call_method":
        node.target = target.rstrip("_")
    elif target in IN_PLACE_OPERATORS:
        node.target = IN_PLACE_OPERATORS[target]
    else:
        space, _, name = (function_name(target) or "torch.").rpartition(".")
        node.target = function_named(f"{space}.{name.rstrip('_')}")
        node.args = tuple(False if value is True else value for value in node.args)
        node.kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}
