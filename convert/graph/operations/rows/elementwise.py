"""Functions of single values or of a few of them, evaluated on the running mean."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikeport.convert.graph.operations import staircase
from spikeport.convert.graph.operations.operation import Example, Operation
from spikeport.convert.graph.operations.spikes import MIXED, SELECTED


def _of_one(name: str, *aliases: str, at: Callable[[Tensor], Any] = lambda x: x) -> Operation:
    return Operation(name, "difference", MIXED, aliases, examples=(Example(lambda x: (at(x),)),))


def _of_several(name: str, *aliases: str, arguments: tuple[str, ...], example: Any) -> Operation:
    return Operation(
        name, "difference", MIXED, aliases, arguments=arguments, examples=(Example(example),)
    )


def _inside(x: Tensor) -> Tensor:
    """Values in (0, 1)."""
    return 0.8 * x.sigmoid() + 0.1


def _above(x: Tensor) -> Tensor:
    return x + 0.5


ROWS = [
    Operation(
        "maximum",
        "difference",
        SELECTED,
        ("fmax",),
        arguments=("input", "other"),
        keeps="larger",
        staircase=staircase.limited(above=False),
        examples=(
            Example(lambda x: (x, x.roll(1, 2))),
            Example(lambda x: (x, torch.tensor(0.3))),
        ),
    ),
    Operation(
        "minimum",
        "difference",
        MIXED,
        ("fmin",),
        arguments=("input", "other"),
        keeps="smaller",
        staircase=staircase.limited(above=True),
        examples=(Example(lambda x: (x, x.roll(1, 2))), Example(lambda x: (x, torch.tensor(0.3)))),
    ),
    _of_one("exp"),
    _of_one("exp2"),
    _of_one("expm1"),
    _of_one("log", at=_above),
    _of_one("log1p"),
    _of_one("log2", at=_above),
    _of_one("log10", at=_above),
    _of_one("sqrt", at=_above),
    _of_one("rsqrt", at=_above),
    _of_one("square"),
    _of_one("abs", "absolute", "fabs"),
    _of_one("reciprocal", at=_above),
    _of_one("sin"),
    _of_one("cos"),
    _of_one("tan", at=lambda x: 0.3 * x),
    _of_one("asin", "arcsin", at=_inside),
    _of_one("acos", "arccos", at=_inside),
    _of_one("atan", "arctan"),
    _of_one("sinh"),
    _of_one("cosh"),
    _of_one("asinh", "arcsinh"),
    _of_one("acosh", "arccosh", at=lambda x: x + 1.5),
    _of_one("atanh", "arctanh", at=_inside),
    _of_one("sinc"),
    _of_one("erf"),
    _of_one("erfc"),
    _of_one("erfinv", at=_inside),
    _of_one("erfcx"),
    _of_one("log_ndtr"),
    _of_one("ndtr"),
    _of_one("ndtri", at=_inside),
    _of_one("i0"),
    _of_one("i0e"),
    _of_one("i1"),
    _of_one("i1e"),
    _of_one("entr", at=_inside),
    _of_one("gammaln", "lgamma", at=_above),
    _of_one("digamma", "psi", at=_above),
    _of_one("logit", at=_inside),
    _of_one("bessel_j0", "bessel_j1"),
    _of_one("deg2rad", "rad2deg"),
    _of_one("nan_to_num"),
    _of_several(
        "pow", "float_power", arguments=("input", "exponent"), example=lambda x: (x + 0.5, 1.5)
    ),
    _of_several(
        "atan2", "arctan2", arguments=("input", "other"), example=lambda x: (x, x.roll(1, 2) + 1)
    ),
    _of_several("hypot", arguments=("input", "other"), example=lambda x: (x, x.roll(1, 2) + 1)),
    _of_several(
        "logaddexp", "logaddexp2", arguments=("input", "other"), example=lambda x: (x, x.roll(1, 2))
    ),
    _of_several(
        "xlogy", "xlog1py", arguments=("input", "other"), example=lambda x: (x, x.roll(1, 2) + 1)
    ),
    _of_several("copysign", arguments=("input", "other"), example=lambda x: (x, -1.0)),
    _of_several(
        "addcmul",
        "addcdiv",
        arguments=("input", "tensor1", "tensor2"),
        example=lambda x: (x, x, x + 1),
    ),
    _of_several(
        "lerp", arguments=("input", "end", "weight"), example=lambda x: (x, x.roll(1, 2), 0.3)
    ),
    _of_several(
        "pairwise_distance",
        "cdist",
        "dist",
        arguments=("x1", "x2"),
        example=lambda x: (x, x.roll(1, 2) + 1),
    ),
    _of_several(
        "cross",
        arguments=("input", "other", "dim"),
        example=lambda x: (x[:, :3], x[:, 1:], 1),
    ),
    Operation(
        "logcumsumexp",
        "difference",
        MIXED,
        ("cummax", "cummin", "cumprod"),
        arguments=("input", "dim"),
        examples=(Example(lambda x: (x, 2)),),
    ),
    Operation(
        "grid_sample",
        "difference",
        MIXED,
        arguments=("input", "grid", "mode", "padding_mode", "align_corners"),
        examples=(
            Example(
                lambda x: (x, x[:, :2].movedim(1, -1) - 0.5, "bilinear", "zeros", False),
            ),
        ),
    ),
    Operation(
        "affine_grid",
        "linear",
        MIXED,
        arguments=("theta", "size", "align_corners"),
        examples=(Example(lambda x: (x, (x.size(0), 4, 6, 6), False), shape=(2, 3)),),
    ),
]
