"""Products: linear in each factor.

Matrix products with a constant become linear layers when a network is brought to its canonical
form; what is left here has two factors that depend on the input.
"""

from typing import Any

import torch

from spikeport.convert.graph.operations import staircase
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.einstein import of_einsum as product_of_einsum
from spikeport.convert.graph.operations.einstein import of_matrices, with_offset
from spikeport.convert.graph.operations.macs import (
    of_attention,
    of_contraction,
    of_einsum,
    of_product,
)
from spikeport.convert.graph.operations.operation import Example, InTime, Operation
from spikeport.convert.graph.operations.spikes import MIXED, SCALED


def _unless_rounded(call: Call) -> InTime:
    return "fixed" if call.given("rounding_mode") else "product"


def _turned(x: torch.Tensor) -> torch.Tensor:
    return x.flip(1).transpose(-1, -2)


def _masked(call: Call) -> list[tuple[Any, Any, Any]]:
    """Each factor may be a mask of the other."""
    first, second = call.given("input"), call.given("other")
    return [(second, first, 0.0), (first, second, 0.0)]


ROWS = [
    Operation(
        "mul",
        "product",
        SCALED,
        ("multiply",),
        arguments=("input", "other"),
        engine="scale",
        chooses=_masked,
        staircase=staircase.multiplied,
        examples=(
            Example(lambda x: (x, 0.5)),
            Example(lambda x: (x, torch.linspace(0.5, 1.5, 6))),
            Example(lambda x: (x, x.roll(1, 2))),
        ),
    ),
    Operation(
        "div",
        "product",
        SCALED,
        ("divide", "true_divide", "truediv"),
        arguments=("input", "other"),
        acts=_unless_rounded,
        linear_in=("input",),
        staircase=staircase.divided,
        examples=(
            Example(lambda x: (x, 2.0)),
            Example(lambda x: (x, torch.linspace(0.5, 1.5, 6))),
            Example(lambda x: (x, 1 + x.roll(1, 2))),
            Example(lambda x: (torch.tensor(2.0), 1 + x)),
        ),
    ),
    Operation(
        "matmul",
        "product",
        MIXED,
        arguments=("input", "other"),
        einstein_sum=of_matrices,
        macs=of_product,
        examples=(
            Example(lambda x: (x, _turned(x))),
            Example(lambda x: (x, torch.linspace(-1, 1, 30).view(6, 5))),
            Example(lambda x: (x, torch.linspace(-1, 1, 120).view(4, 6, 5))),
        ),
    ),
    Operation(
        "bmm",
        "product",
        MIXED,
        arguments=("input", "mat2"),
        einstein_sum=of_matrices,
        macs=of_product,
        examples=(Example(lambda x: (x, _turned(x)), shape=(4, 6)),),
    ),
    Operation(
        "mm",
        "product",
        MIXED,
        ("mv", "dot", "vdot", "inner", "outer", "ger", "tensordot"),
        arguments=("input", "mat2"),
        einstein_sum=of_matrices,
        macs=of_contraction,
        examples=(Example(lambda x: (x, torch.linspace(-1, 1, 24).view(4, 6)), shape=(4,)),),
    ),
    Operation(
        "einsum",
        "product",
        MIXED,
        arguments=("equation", "*operands"),
        einstein_sum=product_of_einsum,
        macs=of_einsum,
        examples=(
            Example(lambda x: ("bchw,bdhw->bcd", x, x.flip(1))),
            Example(lambda x: ("bchw,dc->bdhw", x, torch.linspace(-1, 1, 12).view(3, 4))),
            Example(lambda x: ("bchw,cdh->bdcw", x, torch.linspace(-1, 1, 72).view(4, 3, 6))),
        ),
    ),
    *(
        Operation(
            name,
            "difference",
            MIXED,
            arguments=("input", first, second),
            macs=of_product,
            einstein_sum=with_offset(first, second),
            examples=(example,),
        )
        for name, first, second, example in (
            (
                "baddbmm",
                "batch1",
                "batch2",
                Example(lambda x: (torch.ones(()), x, _turned(x)), shape=(4, 6)),
            ),
            (
                "addmm",
                "mat1",
                "mat2",
                Example(
                    lambda x: (torch.ones(6), x, torch.linspace(-1, 1, 24).view(4, 6)), shape=(4,)
                ),
            ),
        )
    ),
    Operation(
        "scaled_dot_product_attention",
        "difference",
        MIXED,
        arguments=("query", "key", "value", "attn_mask"),
        macs=of_attention,
        examples=(Example(lambda x: (x, x.flip(1), x.roll(1, 2))),),
    ),
]
