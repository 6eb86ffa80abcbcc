"""Numbers read off a shape: they do what Python's do, follow the input, tell when they decide."""

import math
import operator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spikeport.convert.tracing.tracer import trace
from tests.convert.test_tracing import run

ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
LEAVES = st.sampled_from(["first", "last"]) | st.integers(1, 5)
EXPRESSIONS = st.recursive(
    LEAVES, lambda inner: st.tuples(st.sampled_from(ARITHMETIC), inner, inner), max_leaves=6
)


class Returning(nn.Module):
    """Returns what a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, x):
        return self.function(x)


def evaluated(expression, x):
    if isinstance(expression, tuple):
        name, a, b = expression
        return getattr(operator, name)(evaluated(a, x), evaluated(b, x))
    return {"first": x.shape[1], "last": x.size(-1)}.get(expression, expression)


def guards(graph):
    return [node.meta["guard"] for node in graph.nodes if "guard" in node.meta]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(EXPRESSIONS, st.integers(1, 9), st.integers(1, 9))
def test_arithmetic_follows_the_input(expression, first, last):
    x, other = torch.zeros(2, 3, 4), torch.zeros(5, first, last)
    try:
        expected = [evaluated(expression, x), evaluated(expression, other)]
    except (TypeError, ZeroDivisionError, OverflowError):
        return
    if any(isinstance(value, complex) or value > 1e9 for value in expected):
        return
    graph, root = trace(Returning(lambda x: (x * 1, evaluated(expression, x))), (x,))
    assert guards(graph) == []
    for batch, value in zip((x, other), expected, strict=True):
        found = run(graph, root, batch)[1]
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("other", [3, 4.0, "size"])
def test_a_comparison_decides_when_it_is_used(name, other):
    def compared(x):
        return getattr(operator, name)(x.shape[1], x.shape[2] if other == "size" else other)

    x = torch.zeros(2, 3, 4)
    graph, root = trace(Returning(lambda x: (x * 1, compared(x))), (x,))
    assert guards(graph) == []
    assert run(graph, root, torch.zeros(2, 4, 4))[1] is compared(torch.zeros(2, 4, 4))
    graph, _ = trace(Returning(lambda x: x * 2 if compared(x) else x * 3), (x,))
    assert guards(graph) == [compared(x)]


DECISIONS = {
    "int": lambda n: int(n),
    "float": lambda n: float(n),
    "range": lambda n: len(range(n)),
    "list": lambda n: len([0] * n),
    "index": lambda n: "abcdef"[n],
    "sqrt": lambda n: math.sqrt(n),
    "hash": lambda n: {4: 7}[n],
    "round": lambda n: round(n / 3, 1),
    "bits": lambda n: n.bit_length(),
    "truth": lambda n: not n,
    "max": lambda n: max(n, 2),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_plain_number_is_a_decision(name):
    x, function = torch.zeros(2, 3, 4), DECISIONS[name]
    graph, root = trace(Returning(lambda x: (x * 1, function(x.shape[2]))), (x,))
    assert len(guards(graph)) >= 1
    assert run(graph, root, x)[1] == function(4)


FREE = {
    "ceil": lambda x: math.ceil(x.shape[2] / 3),
    "floor": lambda x: math.floor(x.shape[2] / 3),
    "divmod": lambda x: divmod(x.shape[2], 3),
    "negative": lambda x: -x.shape[2] + abs(-x.shape[1]) + ~x.shape[0],
    "numel": lambda x: x.numel() + x.shape[1:].numel(),
    "joined": lambda x: x.reshape((1, *x.shape[1:], -1)).shape[1:3] + (7,) + x.size()[:1],
    "strides": lambda x: x.stride(),
    "of a factory": lambda x: torch.zeros(x.shape[1], x.shape[2] * 2).shape,
    "in front": lambda x: (7,) + x.shape,
    "printed": lambda x: (f"{x.shape[2]:>5} {x.shape} {x.shape[1]!r}", x.shape[2])[1],
}


@pytest.mark.parametrize("name", FREE)
def test_what_follows_the_input(name):
    x, other = torch.zeros(2, 3, 4), torch.zeros(5, 2, 6)
    graph, root = trace(Returning(lambda x: (x * 1, FREE[name](x))), (x,))
    assert guards(graph) == []
    for batch in (x, other):
        assert run(graph, root, batch)[1] == FREE[name](batch)


def test_dtypes_and_devices_that_were_read_follow_the_network():
    model = Returning(lambda x: x + torch.arange(x.shape[-1], dtype=x.dtype, device=x.device))
    graph, root = trace(model, (torch.zeros(2, 4),))
    assert run(graph, root, torch.zeros(2, 4, dtype=torch.float64)).dtype == torch.float64
    model = Returning(lambda x: x + torch.arange(x.shape[-1], dtype=torch.float32))
    graph, root = trace(model, (torch.zeros(2, 4),))
    [arange] = [node for node in graph.nodes if node.target is torch.arange]
    assert arange.kwargs["dtype"] is torch.float32
