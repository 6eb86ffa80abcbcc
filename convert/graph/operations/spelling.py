"""Spellings of operations: functions by name and back, bare names, in-place forms."""

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from spikeport.convert.graph import set_item

NAMESPACES = {
    "torch": torch,
    "F": F,
    "operator": operator,
    "math": math,
    "builtins": builtins,
    "spikeport": set_item,
    "special": torch.special,
    "linalg": torch.linalg,
}
IN_PLACE_OPERATORS: dict[Any, Callable[..., Any]] = {  # and the operators that make a new tensor
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.imatmul: operator.matmul,
    operator.ipow: operator.pow,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
    operator.ilshift: operator.lshift,
    operator.irshift: operator.rshift,
}


def function_name(function: Callable[..., Any]) -> str | None:
    """``"F.relu"`` for ``torch.nn.functional.relu``; None for a function outside NAMESPACES."""
    try:
        return _FUNCTION_NAMES.get(function)
    except TypeError:  # not hashable
        return None


def name_function(name: str, function: Callable[..., Any]) -> None:
    """Make ``function_name`` and ``function_named`` know one more function."""
    _FUNCTIONS[name], _FUNCTION_NAMES[function] = function, name


def function_named(name: str) -> Callable[..., Any]:
    """The inverse of ``function_name``; raises KeyError for anything else."""
    return _FUNCTIONS[name]


def functions_called(bare: str) -> dict[str, Callable[..., Any]]:
    """Functions with a bare name, in-place forms left out, by name."""
    return {name: f for name, f in _FUNCTIONS.items() if name.rpartition(".")[2] == bare}


def written_name(node: fx.Node, module: nn.Module | None = None) -> str:
    """The bare name of what a node calls, e.g. ``add`` for ``x + y``, ``x.add_(y)``.

    Args:
        node: a call_module, call_function or call_method node.
        module: the module that a call_module node calls.
    """
    if node.op == "call_module":
        return getattr(type(module), "op_name", type(module).__name__)
    if node.op == "call_method":
        return str(node.target).strip("_")
    target = IN_PLACE_OPERATORS.get(node.target, node.target)
    name = function_name(target) or _qualified(target)
    return name.rpartition(".")[2].strip("_")


def _qualified(target: Any) -> str:
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}"


def _named_functions() -> dict[str, Callable[..., Any]]:
    found = {}
    for space, module in NAMESPACES.items():
        if space == "builtins":
            found["builtins.getattr"] = getattr
            continue
        for name, value in vars(module).items():
            if callable(value) and not isinstance(value, type) and not name.startswith("__"):
                found[f"{space}.{name}"] = value
    return found


def _plainness(item: tuple[str, Callable[..., Any]]) -> tuple[bool, bool, int]:
    """Sorts the names of one function: public, its own, short (torch.mm equals torch.dsmm)."""
    bare = item[0].rpartition(".")[2]
    return bare.startswith("_"), bare != getattr(item[1], "__name__", bare), len(bare)


_FUNCTIONS = _named_functions()
_FUNCTION_NAMES: dict[Any, str] = {}
for _name, _function in sorted(_FUNCTIONS.items(), key=_plainness):
    _FUNCTION_NAMES.setdefault(_function, _name)
