"""Sums, scalings, means, masks: what else commutes with the mean over time."""

from collections.abc import Callable
from typing import Any

import torch

from spikeport.convert.graph.operations import staircase
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.operation import Example, InTime, Operation
from spikeport.convert.graph.operations.spikes import (
    ACCUMULATED,
    ADDED,
    AVERAGED,
    CHOSEN,
    MIXED,
    MOVED,
    MOVED_IF_ZERO,
    SCALED,
)
from spikeport.convert.graph.operations.windows import summed_spikes, whole_map

_MASK = torch.tensor([True, False, True, True, False, True])


def _keeps_values(call: Call) -> InTime:
    """A change of type; to whole numbers or bools it rounds, which is not linear."""
    meta = call.node.meta
    value = meta.get("value")
    whole = value is not None and hasattr(value, "dtype") and not value.dtype.is_floating_point
    return "fixed" if whole else "linear"


def _zeros(x: torch.Tensor) -> torch.Tensor:
    """Indices [B, 1, H, W]."""
    return torch.zeros(1, 1, 6, 6, dtype=torch.long).expand(x.size(0), -1, -1, -1)


def _choice(*names: str) -> Callable[[Call], list[tuple[Any, Any, Any]]]:
    """The mask, the value where it is true and the value where it is not, by argument."""
    return lambda call: [(call.given(names[0]), call.given(names[1]), call.given(names[2]))]


ROWS = [
    Operation(
        "add",
        "linear",
        ADDED,
        arguments=("input", "other"),
        engine="add",
        staircase=staircase.added,
        examples=(
            Example(lambda x: (x, x.roll(1, 2))),
            Example(lambda x: (x, 0.25)),
            Example(lambda x: (x, torch.linspace(-1, 1, 6))),
            Example(lambda x: (x, torch.zeros_like(x))),
        ),
    ),
    Operation(
        "sub",
        "linear",
        ADDED,
        ("subtract",),
        arguments=("input", "other"),
        staircase=staircase.subtracted,
        examples=(
            Example(lambda x: (x, x.roll(1, 2))),
            Example(lambda x: (x, torch.linspace(-1, 1, 6))),
        ),
    ),
    Operation(
        "rsub",
        "linear",
        ADDED,
        arguments=("input", "other"),
        examples=(Example(lambda x: (x, x.roll(1, 2))),),
    ),
    Operation("neg", "linear", SCALED, ("negative",), examples=(Example(),)),
    Operation(
        "to",
        "linear",
        SCALED,
        ("float", "half", "double", "bfloat16", "type", "type_as"),
        arguments=("input", "dtype"),
        acts=_keeps_values,
        mask="same",
        staircase=staircase.unchanged,
        examples=(Example(lambda x: (x, torch.float32)),),
    ),
    Operation(
        "mean",
        "linear",
        AVERAGED(summed_spikes),
        arguments=("input", "dim", "keepdim"),
        engine="average",
        window=whole_map,
        examples=(
            Example(lambda x: (x, (2, 3))),
            Example(lambda x: (x, -1, True)),
            Example(lambda x: (x, [1])),
        ),
    ),
    Operation(
        "sum",
        "linear",
        ACCUMULATED,
        ("nansum",),
        arguments=("input", "dim", "keepdim"),
        examples=(Example(lambda x: (x, (2, 3))), Example(lambda x: (x, 1, True))),
    ),
    Operation(
        "cumsum",
        "linear",
        ACCUMULATED,
        arguments=("input", "dim"),
        examples=(Example(lambda x: (x, 2)),),
    ),
    Operation(
        "diff",
        "linear",
        MIXED,
        arguments=("input", "n", "dim"),
        examples=(Example(lambda x: (x, 1, 2)),),
    ),
    Operation(
        "where",
        "linear",
        CHOSEN("input", "other"),
        arguments=("condition", "input", "other"),
        method_arguments=("input", "condition", "other"),
        constant=("condition",),
        chooses=_choice("condition", "input", "other"),
        examples=(
            Example(lambda x: (_MASK, x, torch.zeros(()))),
            Example(lambda x: (_MASK, x, x.roll(1, 2))),
            Example(lambda x: (_MASK, x, torch.tensor(0.5))),
        ),
    ),
    Operation(
        "masked_fill",
        "linear",
        MOVED_IF_ZERO("value"),
        arguments=("input", "mask", "value"),
        constant=("mask",),
        chooses=_choice("mask", "value", "input"),
        examples=(Example(lambda x: (x, _MASK, 0.0)), Example(lambda x: (x, _MASK, -1.0))),
    ),
    Operation(
        "tril", "linear", MOVED, ("triu",), arguments=("input", "diagonal"), examples=(Example(),)
    ),
    Operation(
        "set_item",
        "linear",
        CHOSEN("input", "value"),
        arguments=("input", "index", "value"),
        constant=("index",),
        chooses=_choice("index", "value", "input"),
        examples=(Example(lambda x: (x, (slice(None), 0), 0.0)),),
    ),
    *(
        Operation(
            name,
            "linear",
            MIXED,
            aliases,
            arguments=("input", "dim", "index", "source"),
            constant=("index",),
            examples=(Example(example),),
        )
        for name, aliases, example in (
            ("scatter", ("scatter_add",), lambda x: (x, 1, _zeros(x), x[:, 1:2])),
            (
                "index_add",
                ("index_fill", "index_copy"),
                lambda x: (x, 1, torch.tensor([0, 2]), x[:, 1:3]),
            ),
        )
    ),
    Operation(
        "masked_scatter",
        "linear",
        MIXED,
        arguments=("input", "mask", "source"),
        constant=("mask",),
        chooses=_choice("mask", "value", "input"),
    ),
    Operation(
        "select_scatter",
        "linear",
        MIXED,
        ("slice_scatter", "diagonal_scatter"),
        arguments=("input", "src", "dim", "index"),
        examples=(Example(lambda x: (x, x[:, :, 1], 2, 0)),),
    ),
]
