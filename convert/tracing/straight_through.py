"""Sums that cancel: straight-through gradients, of which only the forward value counts.

``x + (f(x) - x).detach()`` is f(x) (Bengio et al. 2013, "Estimating or Propagating Gradients
Through Stochastic Neurons"), and ``(x - s * x).detach() + s * x``, which scales a gradient, is x.
"""

from typing import Any

from torch import Tensor, fx

from spikeport.convert.graph.nodes import eliminate_dead
from spikeport.convert.graph.operations.table import row_of

DEPTH = 4  # additions into each other


def cancel_sums(graph: fx.Graph) -> None:
    """Put the one term that is left of a sum in the sum's place, in place."""
    for node in list(graph.nodes):
        left = [(term, count) for term, count in _terms(node, DEPTH).items() if count]
        if len(left) != 1 or left[0][1] != 1 or left[0][0] is node:
            continue
        term = left[0][0]
        if _alike(term.meta["value"], node.meta["value"]):
            node.replace_all_uses_with(term)
    eliminate_dead(graph)


def _terms(node: fx.Node, depth: int) -> dict[fx.Node, int]:
    """The values that a node adds up, with how often each is in the sum; itself if it is none."""
    row, found = row_of(node), dict[fx.Node, int]()
    signs = {"add": 1, "sub": -1}
    if depth == 0 or row is None or row.name not in signs or not _plain(node):
        return {node: 1}
    for part, sign in zip(node.args, (1, signs[row.name]), strict=True):
        assert isinstance(part, fx.Node)
        for term, count in _terms(part, depth - 1).items():
            found[term] = found.get(term, 0) + sign * count
    return found


def _plain(node: fx.Node) -> bool:
    """Whether it adds or subtracts two tensors and does nothing else."""
    two = len(node.args) == 2 and all(isinstance(part, fx.Node) for part in node.args)
    return two and not node.kwargs


def _alike(value: Any, other: Any) -> bool:
    if not isinstance(value, Tensor) or not isinstance(other, Tensor):
        return False
    return value.shape == other.shape and value.dtype == other.dtype
