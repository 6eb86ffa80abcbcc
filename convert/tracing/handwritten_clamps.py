"""Rectifiers and clips written with comparisons, as the functions that they are.

``x * (x > 0)``, ``x.masked_fill(x < 0, 0.0)`` and ``torch.where(x > 0, x, 0.0)`` are a ReLU,
``torch.where(x > c, c, x)`` and ``torch.minimum(x, c)`` are a clip from above, and
``torch.where(x > 0, x, a * x)`` a rectifier with a slope.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeport.convert.graph.nodes import attribute, eliminate_dead
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.operation import Operation
from spikeport.convert.graph.operations.table import call_of, operation_name, row_of


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
        found = _rectifier(*known, root) if known is not None else None
        if found is not None:
            function, args = found
            with graph.inserting_before(node):
                new = graph.call_function(function, args)
            new.meta = {**node.meta, "op": operation_name(new)}
            node.replace_all_uses_with(new)
            graph.erase_node(node)
    eliminate_dead(graph)


Found = tuple[Callable[..., Any], tuple[Any, ...]]


def _rectifier(row: Operation, call: Call, root: nn.Module) -> Found | None:
    """The rectifier or clip that a call is."""
    if row.keeps is not None:
        pair = call.given("input"), call.given("other")
        return _limited(*pair, row.keeps == "larger", root)
    ways = row.chooses(call) if row.chooses is not None else []
    return next(filter(None, (_chosen(*way, root) for way in ways)), None)


def _chosen(condition: Any, yes: Any, no: Any, root: nn.Module) -> Found | None:
    """``where(condition, yes, no)``."""
    compared = _comparison(condition, root)
    if compared is None:
        return _limit(condition, yes, no, root)
    x, bound, above = compared
    over, under = (yes, no) if above else (no, yes)
    if _number(under, root) == bound and _is_below(over, x, bound, False, root):
        return _at_least(over, bound, root)
    if _number(over, root) == bound and _is_below(under, x, bound, True, root):
        return _at_most(under, bound, root)
    slope = _slope(under, x, root) if over is x and bound == 0 else None
    return (F.leaky_relu, (x, slope)) if slope is not None else None


def _limit(condition: Any, yes: Any, no: Any, root: nn.Module) -> Found | None:
    """``where(x > y, y, x)``, of two tensors."""
    compared, negated = _compared(condition, root)
    if compared is None:
        return None
    row, call = compared
    above = (row.compares == "above") != negated
    pair = (call.given("input"), call.given("other"))
    if not all(isinstance(one, fx.Node) for one in pair):
        return None
    if (yes, no) == pair:
        return (torch.maximum if above else torch.minimum), pair
    return ((torch.minimum if above else torch.maximum), pair) if (no, yes) == pair else None


def _is_below(value: Any, x: fx.Node, bound: float, below: bool, root: nn.Module) -> bool:
    """Whether a value is x on the side of a bound where it is used, or x clamped on that side."""
    if value is x:
        return True
    source, low, high = _clamped(value, root)
    if source is not x:
        return False
    return high == math.inf and low <= bound if below else low == -math.inf and high >= bound


def _limited(first: Any, second: Any, above: bool, root: nn.Module) -> Found | None:
    """``maximum(x, c)`` (above) or ``minimum(x, c)``."""
    for x, other in ((first, second), (second, first)):
        bound = _number(other, root)
        if isinstance(x, fx.Node) and bound is not None and _number(x, root) is None:
            return _at_least(x, bound, root) if above else _at_most(x, bound, root)
    return None


def _clamped(x: Any, root: nn.Module) -> tuple[Any, float, float]:
    """The source and the ends of a clamp; of something else itself, without ends."""
    known = call_of(x, root) if isinstance(x, fx.Node) else None
    span = known[0].activation(known[1]) if known is not None and known[0].activation else None
    if known is None or span is None:
        return x, -math.inf, math.inf
    return known[1].given("input"), *span


def _at_least(x: fx.Node, bound: float, root: nn.Module) -> Found:
    source, low, high = _clamped(x, root)
    if low == -math.inf and bound <= high < math.inf:
        return torch.clamp, (source, bound, high)
    return (F.relu, (x,)) if bound == 0 else (torch.clamp_min, (x, bound))


def _at_most(x: fx.Node, bound: float, root: nn.Module) -> Found:
    source, low, high = _clamped(x, root)
    if high == math.inf and -math.inf < low <= bound:
        return torch.clamp, (source, low, bound)
    return torch.clamp_max, (x, bound)


def _compared(node: Any, root: nn.Module) -> tuple[tuple[Operation, Call] | None, bool]:
    """The comparison that a mask is, and whether it is negated."""
    negated = False
    while isinstance(node, fx.Node) and (row := row_of(node)) is not None and row.mask:
        negated ^= row.mask == "opposite"
        node = node.args[0]
    known = call_of(node, root) if isinstance(node, fx.Node) else None
    return (known if known is not None and known[0].compares is not None else None), negated


def _comparison(node: Any, root: nn.Module) -> Comparison | None:
    """The comparison of a value with a number that a mask is."""
    known, negated = _compared(node, root)
    if known is None:
        return None
    above = (known[0].compares == "above") != negated
    left, right = known[1].given("input"), known[1].given("other")
    for x, other, turned in ((left, right, False), (right, left, True)):
        bound = _number(other, root)
        if isinstance(x, fx.Node) and bound is not None:
            return Comparison(x, bound, above != turned)
    return None


def _slope(value: Any, x: fx.Node, root: nn.Module) -> float | None:
    """a, of ``a * x``, which a product by a mask is written like."""
    known = call_of(value, root) if isinstance(value, fx.Node) else None
    if known is None or known[0].chooses is None:
        return None
    factors = [factor for factor, of, rest in known[0].chooses(known[1]) if of is x and rest == 0.0]
    return _number(factors[0], root) if len(factors) == 1 else None


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
    known = call_of(value, root)
    if known is None:
        return None
    filled = known[0].filled_with
    return _number(known[1].given(filled), root) if isinstance(filled, str) else filled
