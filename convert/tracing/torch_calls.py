"""The node that a call of torch becomes: a method by its name, an operator, or a function."""

import operator
import types
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeport.convert.errors import ConversionError

OPERATORS = {
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
    "lshift", "rshift", "neg", "pos", "invert", "eq", "ne", "lt", "le", "gt", "ge", "getitem",
}  # fmt: skip
_DERIVED = (
    "a class derived from a recurrent layer calls its forward, which the graph would have to hold "
    "whole; let the class be an nn.Module that holds the nn.LSTM, nn.GRU or nn.RNN"
)
REFUSED = {
    "_pack_padded_sequence": "pack_padded_sequence has no form in a graph, since how many "
    "sequences reach a step depends on their lengths; call the recurrent layer on the padded "
    "sequences, and read its output where each of them ends (output.gather)",
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _DERIVED),
}
Call = tuple[str, Any, tuple[Any, ...], dict[str, Any]]


def recorded_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Kind, target, arguments and keyword arguments of the node for a call of torch's interface.

    Raises:
        ConversionError: a call that no graph can hold.
    """
    name = getattr(function, "__name__", "")
    if name in REFUSED:
        raise ConversionError(REFUSED[name])
    if not _is_method(function, name):
        return "call_function", function, args, kwargs
    bare = name.removeprefix("__").removesuffix("__")
    if bare == name:
        return "call_method", name, args, kwargs
    if bare in OPERATORS:
        return "call_function", _operator(bare), args, kwargs
    if bare[0] == "i" and bare[1:] in OPERATORS:
        return "call_function", getattr(operator, bare), args, kwargs
    if bare[0] == "r" and bare[1:] in OPERATORS:
        return "call_function", _operator(bare[1:]), args[::-1], kwargs
    if bare in ("rdiv", "div", "idiv"):
        other = {"rdiv": operator.truediv, "div": operator.truediv, "idiv": operator.itruediv}
        return "call_function", other[bare], args[::-1] if bare[0] == "r" else args, kwargs
    raise ConversionError(f"the method '{name}' of a tensor has no form in a graph")


def _operator(bare: str) -> Any:
    return getattr(operator, f"{bare}_" if bare in ("and", "or") else bare)


def _is_method(function: Any, name: str) -> bool:
    if isinstance(function, (types.MethodDescriptorType, types.WrapperDescriptorType)):
        return True
    return isinstance(function, types.FunctionType) and getattr(Tensor, name, None) is function


def aten_call(overload: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """The node for an operator that C++ code called: torch's function of the same name.

    Raises:
        ConversionError: an operator of torch's internals that the interface has no name for.
    """
    name = overload.overloadpacket.__name__
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    if name in _TRANSLATED:
        return _TRANSLATED[name](args, kwargs)
    if overload.namespace == "aten":
        if args and isinstance(args[0], Tensor) and hasattr(Tensor, name):
            return "call_method", name, args, kwargs
        for space in (torch, F):
            if callable(getattr(space, name, None)) and not name.startswith("_"):
                return "call_function", getattr(space, name), args, kwargs
        raise ConversionError(
            f"code without Python in it (a scripted function, vmap, a gradient) calls '{name}' of "
            "torch's internals, which has no form in a graph; write that part with functions of "
            "torch in Python"
        )
    return "call_function", overload.overloadpacket, args, kwargs


def _method(name: str, count: int = 1) -> Any:
    """A call of the method ``name`` with the first ``count`` arguments."""
    return lambda args, kwargs: ("call_method", name, args[:count], {})


def _converted(args: Any, kwargs: Any) -> Call:
    kept = {key: kwargs[key] for key in ("dtype", "device") if key in kwargs}
    return "call_method", "to" if kept else "clone", args, kept


def _convolved(args: Any, kwargs: Any) -> Call:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
    dims = weight.ndim - 2
    if transposed:
        rest = (stride, padding, output_padding, groups, dilation)
        return "call_function", getattr(F, f"conv_transpose{dims}d"), (x, weight, bias, *rest), {}
    rest = (stride, padding, dilation, groups)  # type: ignore[assignment]
    return "call_function", getattr(F, f"conv{dims}d"), (x, weight, bias, *rest), {}


_TRANSLATED = {
    "alias": _method("detach"),
    "detach": _method("detach"),
    "lift_fresh": _method("detach"),
    "lift": _method("clone"),
    "_to_copy": _converted,
    "_unsafe_view": _method("reshape", 2),
    "_reshape_alias": _method("reshape", 2),
    "_softmax": _method("softmax", 2),
    "_log_softmax": _method("log_softmax", 2),
    "convolution": _convolved,
    "_convolution": lambda args, kwargs: _convolved(args[:9], kwargs),
}
