"""Rectifiers and clips written with comparisons, as the functions that they are.

``x * (x > 0)`` and ``torch.where(x > 0, x, 0.0)`` are a ReLU, ``torch.where(x > c, c, x)`` is a
clip from above, ``torch.where(x > 0, x, a * x)`` a rectifier with a slope.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeport.convert.graph.nodes import attribute, eliminate_dead
from spikeport.convert.graph.operations.table import call_of, row_named, row_of


class Comparison(NamedTuple):
    """``x > bound`` (above) or ``x < bound``; equality is the same for what is made of it.

    Attributes:
        x: a node.
        bound: a number.
        above: which of the two.
    """

    x: fx.Node
    bound: float
    above: bool


def write_clamps(graph: fx.Graph, root: nn.Module) -> None:
    """Put clamps in the places of comparisons that make one, in place."""
    for node in list(graph.nodes):
        known = call_of(node, root)
        if known is None:
            continue
        row, call = known
        if row is row_named("where"):
            condition, yes, no = (call.given(name) for name in row.arguments)
            found = _chosen(condition, yes, no, root)
        elif row is row_named("mul"):
            found = _masked(call.given("input"), call.given("other"), root)
        else:
            continue
        if found is not None:
            function, args = found
            with graph.inserting_before(node):
                new = graph.call_function(function, args)
            new.meta = {**node.meta, "op": _NAMES[function]}
            node.replace_all_uses_with(new)
            graph.erase_node(node)
    eliminate_dead(graph)


Found = tuple[Callable[..., Any], tuple[Any, ...]]
_NAMES: dict[Any, str] = {
    F.relu: "relu",
    F.leaky_relu: "leaky_relu",
    torch.clamp_min: "clamp_min",
    torch.clamp_max: "clamp_max",
}


def _chosen(condition: Any, yes: Any, no: Any, root: nn.Module) -> Found | None:
    """``where(condition, yes, no)``."""
    compared = _comparison(condition, root)
    if compared is None:
        return None
    x, bound, above = compared
    over, under = (yes, no) if above else (no, yes)
    if over is x and _number(under, root) == bound:
        return _at_least(x, bound)
    if under is x and _number(over, root) == bound:
        return torch.clamp_max, (x, bound)
    slope = _slope(under, x, root) if over is x and bound == 0 else None
    return (F.leaky_relu, (x, slope)) if slope is not None else None


def _masked(first: Any, second: Any, root: nn.Module) -> Found | None:
    """``x * (x > 0)``."""
    for x, mask in ((first, second), (second, first)):
        compared = _comparison(mask, root)
        if compared is not None and compared == Comparison(x, 0.0, True):
            return _at_least(x, 0.0)
    return None


def _at_least(x: fx.Node, bound: float) -> Found:
    return (F.relu, (x,)) if bound == 0 else (torch.clamp_min, (x, bound))


def _comparison(node: Any, root: nn.Module) -> Comparison | None:
    while isinstance(node, fx.Node) and row_of(node) in (row_named("to"), row_named("bool")):
        node = node.args[0]
    known = call_of(node, root) if isinstance(node, fx.Node) else None
    if known is None:
        return None
    row, call = known
    if row.compares is None:
        return None
    above = row.compares == "above"
    left, right = call.given("input"), call.given("other")
    for x, other, turned in ((left, right, False), (right, left, True)):
        bound = _number(other, root)
        if isinstance(x, fx.Node) and bound is not None:
            return Comparison(x, bound, above != turned)
    return None


def _slope(value: Any, x: fx.Node, root: nn.Module) -> float | None:
    """a, of ``a * x``."""
    known = call_of(value, root) if isinstance(value, fx.Node) else None
    if known is None or known[0] is not row_named("mul"):
        return None
    factors = [known[1].given("input"), known[1].given("other")]
    others = [factor for factor in factors if factor is not x]
    return _number(others[0], root) if len(others) == 1 else None


def _number(value: Any, root: nn.Module) -> float | None:
    """A constant that is one number at all positions."""
    if isinstance(value, (int, float)):
        return float(value)
    if not isinstance(value, fx.Node):
        return None
    if value.op == "get_attr":
        tensor = attribute(root, str(value.target))
        if not isinstance(tensor, Tensor) or isinstance(tensor, nn.Parameter) or not tensor.numel():
            return None
        first = tensor.flatten()[0]
        return float(first) if bool((tensor == first).all()) else None
    row = row_of(value)
    return row.filled_with if row is not None else None
