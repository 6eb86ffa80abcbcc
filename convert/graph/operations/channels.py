"""The axis of the channels of a value [B, ...] after an operation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from spikeport.convert.graph.operations.call import Call

# (call, axis before, sizes before, sizes after) -> axis after
ChannelRule = Callable[[Call, int, Sequence[int], Sequence[int]], int]


def kept(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The same axis; the last one stays the last one."""
    return len(after) - 1 if 1 < axis == len(before) - 1 else min(axis, len(after) - 1)


def second(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """Dimension 1, as convolutions have them."""
    return 1 if len(after) > 1 else 0


def last(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The last dimension, as linear layers have them."""
    return len(after) - 1


def reshaped(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The axis of as many channels with as many values within each; otherwise as ``kept``."""
    wanted = before[axis], math.prod(before[axis + 1 :])
    found = [(size, math.prod(after[dim + 1 :])) for dim, size in enumerate(after)]
    same = [dim for dim in range(1, len(after)) if found[dim] == wanted]
    return same[0] if same else kept(call, axis, before, after)


def permuted(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The axis after ``permute(*dims)``."""
    dims = call.given("dims")
    return _place(dims, axis, len(before)) if isinstance(dims, (tuple, list)) else axis


def exchanged(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The axis after ``transpose(dim0, dim1)``."""
    pair = [call.given(name) for name in ("dim0", "dim1")]
    if not all(isinstance(dim, int) for dim in pair):
        return axis
    first, other = (dim % len(before) for dim in pair)
    return {first: other, other: first}.get(axis, axis)


def reversed_pair(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The axis of a matrix after ``t()``."""
    return 1 - axis if len(before) == 2 else axis


def matrix_transposed(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The axis after the last two have changed places, as in ``adjoint()``."""
    last = len(after) - 1
    return {last: last - 1, last - 1: last}.get(axis, axis)


def turned(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The axis after ``rot90(k, dims)``: every second quarter turn exchanges two."""
    first, other = (dim % len(before) for dim in call.given("dims", (0, 1)))
    odd = call.given("k", 1) % 2 == 1
    return {first: other, other: first}.get(axis, axis) if odd else axis


def moved(call: Call, axis: int, before: Sequence[int], after: Sequence[int]) -> int:
    """The axis after ``movedim(source, destination)``."""
    pairs = [call.given(name) for name in ("source", "destination")]
    sources, targets = (
        [dim % len(before) for dim in (pair if isinstance(pair, (tuple, list)) else [pair])]
        for pair in pairs
    )
    rest = [dim for dim in range(len(before)) if dim not in sources]
    order: list[int | None] = [None] * len(before)
    for source, target in zip(sources, targets, strict=True):
        order[target] = source
    places = iter(rest)
    return [next(places) if dim is None else dim for dim in order].index(axis)


def _place(dims: Sequence[Any], axis: int, ndim: int) -> int:
    plain = [dim % ndim if isinstance(dim, int) else -1 for dim in dims]
    return plain.index(axis) if axis in plain else axis
