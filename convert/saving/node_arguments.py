"""Arguments and targets of graph nodes as JSON, and the list of what a file may call.

A file is data from somewhere else: it names functions, methods and attributes, and only those
listed here are looked up. Nothing is imported, and no name with a leading underscore is taken.
"""

import math
from collections import namedtuple
from collections.abc import Callable, Mapping
from types import GetSetDescriptorType
from typing import Any

import torch
from torch import fx

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.operations.spelling import function_name, function_named
from spikeport.convert.graph.operations.table import row_named

# of tensors and sizes, that a file may read: what torch itself keeps there, no method
ATTRIBUTES = {
    *(n for n, v in vars(torch._C.TensorBase).items() if isinstance(v, GetSetDescriptorType)),
    *("itemsize", "type", "index", "values", "indices", "is_floating_point", "is_complex"),
}
_TORCH_VALUES: dict[str, type] = {
    "dtype": torch.dtype,
    "memory_format": torch.memory_format,
    "layout": torch.layout,
}


def encode(value: Any) -> Any:
    """A node's argument as JSON.

    Raises:
        ConversionError: a value of a type that has no form in a file.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if value is Ellipsis:
        return {"ellipsis": None}
    if isinstance(value, slice):
        return {"slice": [encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for name, kind in _TORCH_VALUES.items():
        if isinstance(value, kind):
            return {name: str(value).removeprefix("torch.")}
    return _encode_container(value)


def _encode_container(value: Any) -> Any:
    if isinstance(value, list):
        return [encode(item) for item in value]
    if type(value) in (tuple, torch.Size):
        return {"tuple" if type(value) is tuple else "size": [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [encode(item) for item in value]
        return {"namedtuple": [type(value).__name__, list(value._fields), items]}
    raise ConversionError(f"a value of type '{type(value).__name__}' cannot be saved")


def decode(value: Any, nodes: Mapping[str, fx.Node]) -> Any:
    """The inverse of ``encode``.

    Args:
        value: parsed JSON.
        nodes: the nodes before this one, by name.

    Raises:
        ConversionError: what ``encode`` never writes, or a node that is not there.
    """
    if isinstance(value, list):
        return [decode(item, nodes) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ConversionError(f"an argument with the keys {sorted(value)}; expected one key")
    [(kind, content)] = value.items()
    if kind == "node":
        if content not in nodes:
            raise ConversionError(f"an argument refers to {content!r}, which is no earlier node")
        return nodes[content]
    if kind in _TORCH_VALUES:
        found = getattr(torch, content) if not content.startswith("_") else None
        if not isinstance(found, _TORCH_VALUES[kind]):
            raise ConversionError(f"{content!r} is no torch.{kind}")
        return found
    if kind not in _DECODERS:
        raise ConversionError(f"an argument of the unknown kind {kind!r}")
    return _DECODERS[kind](decode(content, nodes))


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "ellipsis": lambda _: Ellipsis,
    "slice": lambda parts: slice(*parts),
    "range": lambda parts: range(*parts),
    "device": torch.device,
    "tuple": tuple,
    "size": torch.Size,
    "dict": dict,
    "namedtuple": lambda parts: namedtuple(parts[0], parts[1])(*parts[2]),  # noqa: PYI024
}


def encode_target(node: fx.Node) -> str:
    """The name by which a node's target is saved.

    Raises:
        ConversionError: a function, method or attribute that ``load`` would not look up.
    """
    target = node.target
    name = target if isinstance(target, str) else function_name(target) or repr(target)
    decode_target(node.op, name, node.args)
    return name


def decode_target(op: str, name: str, args: tuple[Any, ...]) -> Any:
    """The target that a node calls, for the name in a file.

    Args:
        op: the kind of node, e.g. ``call_function``.
        name: as ``encode_target`` wrote it.
        args: the node's arguments; they say which attribute ``getattr`` reads.

    Raises:
        ConversionError: a name that is not in the list of this file.
    """
    if op == "call_method" and not _is_computation(name):
        raise ConversionError(f"the method {name!r} is not among those that a file may call")
    if op != "call_function":
        return name
    if name == "builtins.getattr":
        attribute = args[1] if len(args) == 2 else None
        if not isinstance(attribute, str) or attribute not in ATTRIBUTES:
            raise ConversionError(f"the attribute {attribute!r} is not among those a file may read")
        return getattr
    if not _is_computation(name.rpartition(".")[2]):
        raise ConversionError(f"the function {name!r} is not among those that a file may call")
    try:
        return function_named(name)
    except KeyError:
        raise ConversionError(f"the function {name!r} is unknown to this version") from None


def _is_computation(name: str) -> bool:
    known = row_named(name) or row_named(name.strip("_"))
    return known is not None and not name.startswith("_")
