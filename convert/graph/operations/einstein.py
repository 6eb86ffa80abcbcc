"""Products of two tensors as Einstein sums, however they are written."""

import string
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, fx

from spikeport.convert.graph.operations.call import Call


class Product(NamedTuple):
    """An Einstein sum of two tensors, with something that is added to it.

    Attributes:
        factors: two arguments of a node.
        terms: an index (a letter) for each dimension of each.
        out: for those of the result.
        offset: added to it, or None.
    """

    factors: tuple[Any, Any]
    terms: tuple[str, str]
    out: str
    offset: Any = None


def of_matrices(call: Call) -> Product | None:
    """``x @ y``: matrices, batches of them, or vectors."""
    operands = [leaf for leaf in call.leaves() if isinstance(leaf, fx.Node)]
    return _matrices(operands[0], operands[1]) if len(operands) == 2 else None


def with_offset(first: str, second: str) -> Callable[[Call], Product | None]:
    """``addmm`` and its like; the arguments that are multiplied."""

    def read(call: Call) -> Product | None:
        if any(call.given(name, 1) != 1 for name in ("alpha", "beta")):
            return None
        return _matrices(call.given(first), call.given(second), call.given("input"))

    return read


def of_einsum(call: Call) -> Product | None:
    """``einsum`` of two tensors, its result named."""
    equation, operands = call.given("equation"), call.given("operands")
    if not isinstance(equation, str) or "->" not in equation or len(operands) != 2:
        return None
    left, _, out = equation.replace(" ", "").partition("->")
    first, _, second = left.partition(",")
    ranks = [_rank(operand) for operand in operands]
    dots = [r - len(t) + 3 for r, t in zip(ranks, (first, second), strict=True) if "..." in t]
    if dots:
        unused = [index for index in string.ascii_letters if index not in equation]
        spread = "".join(unused[: max(dots)])
        first, second = (
            term.replace("...", spread[len(spread) - (rank - len(term) + 3) :])
            for rank, term in zip(ranks, (first, second), strict=True)
        )
        out = out.replace("...", spread)
    if [len(first), len(second)] != ranks:
        return None
    return Product((operands[0], operands[1]), (first, second), out)


def _matrices(left: Any, right: Any, offset: Any = None) -> Product | None:
    ranks = _rank(left), _rank(right)
    if 0 in ranks:
        return None
    batch = string.ascii_lowercase[: max(*ranks, 2) - 2]
    first = (batch[len(batch) - max(ranks[0] - 2, 0) :] + "yz")[-ranks[0] :]
    second = batch[len(batch) - max(ranks[1] - 2, 0) :] + ("zx" if ranks[1] > 1 else "z")
    out = batch + ("y" if ranks[0] > 1 else "") + ("x" if ranks[1] > 1 else "")
    return Product((left, right), (first, second), out, offset)


def _rank(factor: Any) -> int:
    """Dimensions of a tensor that a graph has; 0 for anything else."""
    value = factor.meta.get("value") if isinstance(factor, fx.Node) else None
    return value.ndim if isinstance(value, Tensor) else 0
