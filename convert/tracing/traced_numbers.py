"""Sizes and what is computed from them, recorded while a network's code runs.

A number read off a tensor's shape is an object that remembers how it was made, so that the graph
keeps its freedom of resolution and batch size. Where Python needs the bare value (``if``,
``range``, ``int``), that is a decision: it is kept as a guard.

The classes are torch's own for symbolic sizes (``torch.SymInt`` and its kin), which every function
of torch takes where it takes a number.
"""

import math
import operator
from collections.abc import Callable
from numbers import Number
from typing import Any, Protocol

import torch
from torch import Tensor, fx

BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
UNARY = ("neg", "pos", "abs", "invert")


class Recorder(Protocol):
    """Appends a call to the graph that is being traced."""

    def call(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """The traced value of the call."""


class Recorded:
    """A traced value that is no tensor: its node is made when somebody needs it.

    Attributes:
        value: the plain Python value on the example.
        recorder: where calls on it are recorded.
    """

    value: Any
    recorder: Recorder
    _source: fx.Node | Callable[[], fx.Node]

    @property
    def fx_node(self) -> fx.Node:
        """The node that computes the value."""
        if not isinstance(self._source, fx.Node):
            self._source = self._source()
        return self._source

    def decided(self) -> Any:
        """The plain value, on which the network's code decides something from now on."""
        self.fx_node.meta["guard"] = self.value
        return self.value


class _SymbolicNode:
    """The answers to torch's C++ code, which asks a number for its value: a decision."""

    def __init__(self, number: Recorded) -> None:
        self.number = number

    def decide(self, *place: object) -> Any:
        return self.number.decided()

    guard_int = guard_float = guard_bool = guard_size_oblivious = expect_true = expect_size = decide
    maybe_as_int = maybe_as_float = maybe_as_bool = int_ = float_ = bool_ = decide

    def is_symbolic(self) -> bool:
        return False

    def is_constant(self) -> bool:
        return True

    def is_int(self) -> bool:
        return isinstance(self.number, torch.SymInt)

    def is_float(self) -> bool:
        return isinstance(self.number, torch.SymFloat)

    def is_bool(self) -> bool:
        return isinstance(self.number, torch.SymBool)


class TracedNumber(Recorded):
    """An int, float or bool computed from sizes."""

    def __init__(
        self, recorder: Recorder, value: Any, source: fx.Node | Callable[[], fx.Node]
    ) -> None:
        self.recorder, self.value, self._source = recorder, value, source
        self.node = _SymbolicNode(self)  # by this name torch's C++ code looks for it

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # isinstance(n, int) in the traced code has to be what it is for a real input
        return type(self.value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("value", "recorder", "node"):
            raise AttributeError(name)
        return getattr(self.decided(), name)

    def __bool__(self) -> bool:
        return bool(self.decided())

    def __int__(self) -> int:
        return int(self.decided())

    def __float__(self) -> float:
        return float(self.decided())

    def __complex__(self) -> complex:
        return complex(self.decided())

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy

        return numpy.asarray(self.decided(), dtype)

    def __hash__(self) -> int:
        return hash(self.decided())

    def __repr__(self) -> str:
        return repr(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self.value), (self.decided(),)

    def __ceil__(self) -> Any:
        return self._rounded(math.ceil)

    def __floor__(self) -> Any:
        return self._rounded(math.floor)

    def __trunc__(self) -> int:
        return int(self.decided())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.decided(), digits)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def _rounded(self, function: Callable[[Any], int]) -> Any:
        if isinstance(self.value, int):
            return self
        return self.recorder.call("call_function", function, (self,), {})


class TracedInt(TracedNumber, torch.SymInt):  # type: ignore[misc]
    """An int computed from sizes."""

    def __index__(self) -> int:
        return int(self.decided())


class TracedFloat(TracedNumber, torch.SymFloat):  # type: ignore[misc]
    """A float computed from sizes."""


class TracedBool(TracedNumber, torch.SymBool):
    """A comparison of sizes."""

    def __index__(self) -> int:
        return int(self.decided())


def _recording(function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def method(self: TracedNumber, *others: Any) -> Any:
        if not all(isinstance(other, (Number, Tensor)) for other in others):
            return NotImplemented
        args = (*others, self) if reflected else (self, *others)
        return self.recorder.call("call_function", function, args, {})

    return method


def _give_operators() -> None:
    for name in (*BINARY, *COMPARISONS, *UNARY):
        function, bare = getattr(operator, name), name.strip("_")
        setattr(TracedNumber, f"__{bare}__", _recording(function))
        if name in BINARY:
            setattr(TracedNumber, f"__r{bare}__", _recording(function, reflected=True))


_give_operators()


class TracedSize(Recorded, tuple):
    """A shape, or a part of one: a tuple of recorded numbers.

    Attributes:
        whole: whether it is all of a tensor's shape.
    """

    whole = False

    def __new__(
        cls,
        recorder: Recorder,
        value: Any,
        items: Any,
        source: fx.Node | Callable[[], fx.Node],
    ) -> "TracedSize":
        """A tuple of ``items``, which are plain or traced numbers."""
        made = tuple.__new__(cls, items)
        made.recorder, made.value, made._source = recorder, value, source
        return made

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.value)

    def __getitem__(self, index: Any) -> Any:
        items = tuple.__getitem__(self, index)
        if not isinstance(index, slice):
            return items
        return TracedSize(
            self.recorder, self.value[index], items, self._later(operator.getitem, (self, index))
        )

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, tuple):
            return NotImplemented
        return self._joined(self, other)

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, tuple):
            return NotImplemented
        return self._joined(other, self)

    def _joined(self, first: Any, second: Any) -> "TracedSize":
        value = _plain(first) + _plain(second)
        items = (*first, *second)
        return TracedSize(self.recorder, value, items, self._later(operator.add, (first, second)))

    def _later(self, function: Callable[..., Any], args: Any) -> Callable[[], fx.Node]:
        def make() -> fx.Node:
            node: fx.Node = self.recorder.call("call_function", function, args, {}).fx_node
            return node

        return make

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, (tuple, list)):
            return NotImplemented
        return self.recorder.call("call_function", operator.eq, (self, other), {})

    def __ne__(self, other: object) -> Any:
        if not isinstance(other, (tuple, list)):
            return NotImplemented
        return self.recorder.call("call_function", operator.ne, (self, other), {})

    def __hash__(self) -> int:
        # with the batch size in it, it is the key of a cache: nothing may be found or left there
        return id(self) if self.whole else hash(self.decided())

    def __contains__(self, item: object) -> bool:
        return item in self.decided()

    def __lt__(self, other: Any) -> bool:
        return bool(self.decided() < other)

    def __gt__(self, other: Any) -> bool:
        return bool(self.decided() > other)

    def index(self, *args: Any) -> int:
        """The place of a size, as for a tuple."""
        return int(self.decided().index(*args))

    def count(self, item: Any) -> int:
        """The number of sizes that equal one, as for a tuple."""
        return int(self.decided().count(item))

    def numel(self) -> Any:
        """The product of the sizes."""
        return self.recorder.call("call_method", "numel", (self,), {})

    def __repr__(self) -> str:
        return repr(self.value)

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return tuple, (tuple(self.decided()),)


def _plain(sizes: Any) -> Any:
    """The values of recorded sizes or of a tuple with recorded numbers in it."""
    if isinstance(sizes, Recorded):
        return sizes.value
    return tuple(item.value if isinstance(item, Recorded) else item for item in sizes)
