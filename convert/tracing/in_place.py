"""Code that overwrites tensors, recorded as operations that return new ones.

A tensor that was overwritten stands for another node afterwards, and so do the tensors that share
its memory: what it is a view of, and its other views, which are taken anew.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import location
from spikeport.convert.graph.operations.spelling import (
    IN_PLACE_OPERATORS,
    function_name,
    function_named,
    written_name,
)
from spikeport.convert.graph.operations.table import operation_name
from spikeport.convert.graph.set_item import set_item
from spikeport.convert.tracing.torch_calls import Call
from spikeport.convert.tracing.traced_tensor import TracedTensor, wrapped_by_functorch

OVERWRITING = ("zero_", "fill_", "copy_")  # whatever was there before
# the tensor keeps its values and takes another shape
RESHAPING_IN_PLACE = {
    "squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_",
}  # fmt: skip
# the same values in the same order, under another shape
RESHAPING = {
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as",
    "ravel", "atleast_1d", "atleast_2d", "atleast_3d",
}  # fmt: skip
PERMUTING = {
    "transpose", "permute", "t", "T", "mT", "H", "mH", "adjoint", "swapaxes", "swapdims",
    "movedim", "moveaxis", "numpy_T",
}  # fmt: skip
SPLITTING = {
    "chunk", "split", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split", "unbind",
}  # fmt: skip


def out_of_place(call: Call, module: nn.Module | None) -> Call | None:
    """The call that returns what ``call`` writes into its first argument; None if it writes none.

    Args:
        call: kind, target, arguments and keyword arguments.
        module: what a ``call_module`` calls; the caller sees to it that it returns a new tensor.

    Raises:
        ConversionError: an operation that exists in place only.
    """
    kind, target, args, kwargs = call
    if module is not None:
        return call if getattr(module, "inplace", False) is True else None
    if kind == "call_method":
        return _method_out_of_place(call) if _writes(target) else None
    name = getattr(target, "__name__", "")
    if getattr(operator, name, None) is target:
        plain = IN_PLACE_OPERATORS.get(target)
        return None if plain is None else (kind, plain, args, kwargs)
    if kwargs.get("inplace") is True:
        kept = {key: value for key, value in kwargs.items() if key != "inplace"}
        return kind, target, args, kept
    if _writes(name):
        space, _, name = (function_name(target) or "torch.").rpartition(".")
        try:
            return kind, function_named(f"{space}.{name.rstrip('_')}"), args, kwargs
        except KeyError:
            raise ConversionError(_in_place_only(name)) from None
    return None


def _writes(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _method_out_of_place(call: Call) -> Call:
    _, name, args, kwargs = call
    if name in OVERWRITING:
        value = 0 if name == "zero_" else [*args[1:], *kwargs.values()][0]
        return "call_function", set_item, (args[0], ..., value), {}
    if not hasattr(torch.Tensor, name.rstrip("_")):
        raise ConversionError(_in_place_only(name))
    return "call_method", name.rstrip("_"), args, kwargs


def _in_place_only(name: str) -> str:
    return (
        f"'{name}' exists in place only; write the values that it makes with operations that "
        "return a new tensor"
    )


def become_view(made: TracedTensor, node: fx.Node, parent: TracedTensor, record: Any) -> None:
    """Note that a fresh tensor shares the memory of one that it was made of.

    Args:
        made: the value of ``node``, or one of its values.
        node: the call that took it out of ``parent``.
        parent: an argument of that call.
        record: appends a node to the graph, as ``fx.Graph.create_node``.
    """
    item = made.fx_node.args[1] if made.fx_node is not node else None
    made.view_of = View(parent, node, item, made, record)
    made.memory, made.seen = parent.memory, parent.memory.version


def shares_memory(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors, fake or real, are views of one memory."""
    strided = a.layout == b.layout == torch.strided and not wrapped_by_functorch((a, b))
    return strided and a.untyped_storage()._cdata == b.untyped_storage()._cdata


class View:
    """A tensor taken out of ``parent`` by ``node``, or by ``node[item]`` where it makes several."""

    def __init__(
        self, parent: TracedTensor, node: fx.Node, item: Any, made: TracedTensor, record: Any
    ) -> None:
        self.parent, self.node, self.item, self.record = parent, node, item, record
        self.source = parent.fx_node
        self.value = made.traced_value

    def taken(self) -> fx.Node:
        """See ``traced_tensor.View``."""
        args, kwargs = fx.node.map_arg(
            (self.node.args, self.node.kwargs),
            lambda n: self.parent.fx_node if n is self.source else n,
        )
        value = self.node.meta["value"]
        made: fx.Node = self.record(self.node.op, self.node.target, args, kwargs, value)
        if self.item is None:
            return made
        function = operator.getitem
        again: fx.Node = self.record("call_function", function, (made, self.item), {}, self.value)
        return again

    def is_item(self, index: Any) -> bool:
        """Whether it is ``parent[index]``."""
        return self.node.target is operator.getitem and _same(self.node.args[1], index)

    def put_back(self, written: fx.Node) -> fx.Node:
        """See ``traced_tensor.View``."""
        before, after = self.parent.traced_value, self.value
        op = self._name()
        source = self.parent.fx_node
        if _same_place(before, after):
            return written
        if op == "getitem":
            return self._set(source, self.node.args[1], written)
        if op in RESHAPING and before.numel() == after.numel():
            return self._call("reshape_as", (written, source))
        if op in PERMUTING and before.dtype == after.dtype:
            order = _permutation(self.node, before.ndim)
            return self._call("permute", (written, [order.index(dim) for dim in range(len(order))]))
        if op in ("select", "narrow") or op in SPLITTING:
            return self._set(source, self._place(op), written)
        raise ConversionError(
            f"{location(self.node)}: a value is written into what '{op}' returns, a view of "
            "another tensor; write it out of place, or into that tensor by an index"
        )

    def _name(self) -> str:
        if self.node.target is getattr:
            return str(self.node.args[1])
        if self.node.op == "call_module":
            module = self.parent.recorder.module(self.node)  # type: ignore[attr-defined]
            return operation_name(self.node, module)
        return written_name(self.node)

    def _set(self, source: fx.Node, index: Any, written: fx.Node) -> fx.Node:
        args = (source, index, written)
        made: fx.Node = self.record("call_function", set_item, args, {}, self.parent.traced_value)
        return made

    def _call(self, method: str, args: tuple[Any, ...]) -> fx.Node:
        made: fx.Node = self.record("call_method", method, args, {}, self.parent.traced_value)
        return made

    def _place(self, op: str) -> tuple[Any, ...]:
        """The index into the parent of a part along one dimension."""
        names = {"select": ("dim", "index"), "narrow": ("dim", "start", "length")}
        given = dict(zip(names.get(op, ("sections", "dim")), self.node.args[1:], strict=False))
        if op == "unbind":
            given = {"dim": given["sections"]} if "sections" in given else {}
        given |= self.node.kwargs
        dim = given.get("dim", 0) % self.parent.traced_value.ndim
        ahead = (slice(None),) * dim
        if op == "select":
            return (*ahead, given["index"])
        if op == "unbind":
            return (*ahead, self.item)
        # a part of a dimension whose size may not change from now on
        int(self.parent.recorder.shape(self.parent)[dim])  # type: ignore[attr-defined]
        if op == "narrow":
            start, length = self._number(given["start"]), self.value.shape[dim]
        else:
            parts = self.node.meta["value"]
            start = sum(part.shape[dim] for part in parts[: self.item])
            length = self.value.shape[dim]
        return (*ahead, slice(start, start + length))

    @staticmethod
    def _number(value: Any) -> int:
        if isinstance(value, fx.Node):
            value.meta["guard"] = value = value.meta["value"]
        return int(value)


def _same_place(a: Tensor, b: Tensor) -> bool:
    return bool(
        a.shape == b.shape
        and a.stride() == b.stride()
        and a.storage_offset() == b.storage_offset()
        and a.dtype == b.dtype
    )


def _permutation(node: fx.Node, dims: int) -> list[int]:
    """The dimension of its argument that each dimension of a node's value is."""
    sizes = [dim + 2 for dim in range(dims)]
    tagged = torch.empty(sizes, device="meta")
    args, kwargs = fx.node.map_arg((node.args[1:], node.kwargs), lambda n: n.meta["value"])
    with torch._C.DisableTorchFunction():
        target: Callable[..., Any] | str = node.target
        function = getattr(Tensor, target) if isinstance(target, str) else target
        return [size - 2 for size in function(tagged, *args, **kwargs).shape]


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, slice):
        return all(map(_same, (a.start, a.stop, a.step), (b.start, b.stop, b.step)))
    return a is b if isinstance(a, fx.Node) else bool(a == b)
