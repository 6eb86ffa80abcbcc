"""A real tensor without data that stands for a node of the graph being traced.

It is a wrapper subclass, as ``torch.export`` and functorch use them: torch's C++ code sees a tensor
with a shape and a dtype, and whatever it does to it comes back to Python, as a call of torch's
interface (``__torch_function__``) or, from code that has no Python in it such as a scripted
function, as an operator of aten (``__torch_dispatch__``).
"""

import operator
from collections.abc import Callable
from numbers import Number
from typing import Any, Protocol

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from spikeport.convert.tracing.traced_numbers import BINARY, COMPARISONS

# x += y is the same object afterwards
IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor")


class TensorRecorder(Protocol):
    """The trace that a traced tensor belongs to."""

    def torch_function(self, function: Any, args: Any, kwargs: Any) -> Any:
        """The traced result of a function or method of torch's."""

    def untraced_function(self, function: Any, args: Any, kwargs: Any) -> Any:
        """The result of one that was called where nothing is recorded by name."""

    def aten_operator(self, operator: Any, args: Any, kwargs: Any) -> Any:
        """The traced result of an operator that was called from C++ code."""


class View(Protocol):
    """The way in which a tensor was taken out of another one, whose memory it shares."""

    parent: "TracedTensor"

    def taken(self) -> fx.Node:
        """The view's value, out of the present value of the parent."""

    def put_back(self, written: fx.Node) -> fx.Node:
        """The parent's value after the view was overwritten."""


class Memory:
    """The memory of all views of one tensor: how often it was written to."""

    def __init__(self) -> None:
        self.version = 0


class TracedTensor(FakeTensor):
    """A tensor whose value the graph computes.

    It is one of torch's fake tensors, by which code knows that there are no data to look at: to
    save work, Hugging Face's networks ask whether a mask masks anything, but not of a fake one.

    Attributes:
        recorder: the trace.
        memory: shared with the tensors that it is a view of, and with its views.
        seen: the version of the memory that ``fx_node`` was computed from.
        view_of: None for a tensor with memory of its own.
    """

    recorder: TensorRecorder
    memory: Memory
    seen: int
    view_of: View | None
    _source: fx.Node | Callable[[], fx.Node]
    _value: Tensor | Callable[[], Tensor]

    # not FakeTensor's own, which know no recorder
    device = torch.Tensor.device
    layout = torch.Tensor.layout
    is_mkldnn = torch.Tensor.is_mkldnn
    tolist = torch.Tensor.tolist
    to_dense = torch.Tensor.to_dense

    @staticmethod
    def __new__(  # noqa: D102
        cls,
        recorder: TensorRecorder,
        like: Tensor,
        source: fx.Node | Callable[[], fx.Node],
        value: Callable[[], Tensor] | None = None,
    ) -> "TracedTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            like.shape,
            strides=like.stride(),
            storage_offset=like.storage_offset(),
            dtype=like.dtype,
            layout=like.layout,
            device=torch.device("meta"),  # C++ code that reads data is told that there are none
        )
        made.recorder, made._source = recorder, source
        made._value = like if value is None else value
        made.memory, made.seen, made.view_of = Memory(), 0, None
        return made

    def __init__(self, *args: Any) -> None:
        super().__init__()

    @property
    def traced_value(self) -> Tensor:
        """A fake tensor: shape, strides, dtype and device, no data."""
        if not isinstance(self._value, Tensor):
            self._value = self._value()
        return self._value

    @property
    def fx_node(self) -> fx.Node:
        """The node that computes the present value; made when somebody needs it."""
        if self.view_of is not None and self.seen != self.memory.version:
            self._source, self.seen = self.view_of.taken(), self.memory.version
        if not isinstance(self._source, fx.Node):
            self._source = self._source()
        return self._source

    def take_over(self, other: "TracedTensor") -> None:
        """Be what ``other`` is from now on: another shape of the same memory."""
        self._source, self._value = other._source, other._value
        self.memory, self.seen, self.view_of = other.memory, other.seen, other.view_of

    def become(self, node: fx.Node) -> None:
        """Let the tensor, and all that shares its memory, have the value of ``node`` from now on.

        Raises:
            ConversionError: the tensor is a view through which nothing can be written back.
        """
        if self.view_of is None:
            self.memory.version += 1
        else:
            self.view_of.parent.become(self.view_of.put_back(node))
        self._source, self.seen = node, self.memory.version

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _recorder((args, kwargs)).untraced_function(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _recorder((args, kwargs)).aten_operator(func, args, kwargs or {})

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Any:
        return self.detach()

    def __getitem__(self, index: Any) -> Any:
        return self.recorder.torch_function(operator.getitem, (self, index), {})


def _recorder(value: Any) -> TensorRecorder:
    found = next(traced_in(value))
    return found.recorder


def traced_in(value: Any) -> Any:
    """The traced tensors in nested arguments."""
    if type(value) is TracedTensor:
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from traced_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from traced_in(item)


def wrapped_by_functorch(value: Any) -> bool:
    """Whether vmap or a gradient of torch.func is at work on one of nested arguments."""
    return any(
        isinstance(leaf, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(leaf)
        for leaf in pytree.tree_leaves(value)
    )


def _recording(function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def method(self: TracedTensor, other: Any) -> Any:
        if not isinstance(other, (Number, Tensor)):
            return NotImplemented
        args = (other, self) if reflected else (self, other)
        return self.recorder.torch_function(function, args, {})

    return method


def _give_operators() -> None:
    for name in (*BINARY, "matmul", *COMPARISONS, *IN_PLACE):
        bare = name.strip("_")
        function = getattr(operator, name)
        setattr(TracedTensor, f"__{bare}__", _recording(function))
        if name in (*BINARY, "matmul"):
            setattr(TracedTensor, f"__r{bare}__", _recording(function, reflected=True))


_give_operators()
