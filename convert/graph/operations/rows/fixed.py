"""Arithmetic on sizes, and what may act on constants and on the constant input only."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from spikeport.convert.graph.operations import staircase
from spikeport.convert.graph.operations.operation import Example, Operation
from spikeport.convert.graph.operations.spikes import UNKNOWN

_OF_TWO_SIZES = (
    *("eq", "ne"),
    *("not_equal", "and", "or", "xor"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "lshift", "rshift", "gcd", "lcm"),
)
_OF_ONE = (
    *("not", "invert", "bitwise_not", "truth", "signbit"),
    *("isnan", "isinf", "isfinite", "isneginf", "isposinf"),
    *("bool", "item", "tolist"),
)
_OF_SEVERAL = (
    *("is", "is_not", "contains", "index", "isclose", "allclose", "equal", "logical_and"),
    *("logical_or", "logical_not", "logical_xor", "any", "all", "argsort", "argmax", "argmin"),
    *("diag", "diagflat", "meshgrid", "one_hot", "cov"),
    *("searchsorted", "bucketize", "nonzero", "argwhere", "unique", "bincount", "histc"),
    *("nextafter", "ldexp", "frexp", "polar", "complex", "cartesian_prod"),
    *("combinations", "kron", "block_diag", "embedding_bag", "isin", "count_nonzero"),
    *("tril_indices", "triu_indices", "vander"),
    *("scalar_tensor", "can_cast", "result_type", "promote_types", "tensor"),
    *("as_tensor", "asarray", "from_numpy", "sqrt_int", "prod_int"),
)
_OF_MASKS: dict[str, Literal["same", "opposite"]] = {
    "not": "opposite",
    "invert": "opposite",
    "bitwise_not": "opposite",
    "logical_not": "opposite",
    "bool": "same",
}
_SIZES = (
    *("size", "dim", "ndimension", "numel", "nelement", "stride", "is_floating_point"),
    *(
        "is_complex",
        "is_nonzero",
        "element_size",
        "get_device",
        "is_contiguous",
        "broadcast_shapes",
    ),
    *("storage_offset", "data_ptr", "is_tensor", "dtype"),
)
_MADE_OF_SIZES = (
    "arange",
    "zeros",
    "ones",
    "full",
    "empty",
    "linspace",
    "logspace",
    "eye",
    "range",
)
_LIKE = (
    *("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full"),
    *("new_empty",),
)


_EXAMPLES: dict[str, Callable[[Tensor], tuple[Any, ...]]] = {
    "argmax": lambda x: (x, 1),
    "argmin": lambda x: (x, 1),
    "argsort": lambda x: (x, 1),
    "logical_not": lambda x: (x > 0,),
    "bool": lambda x: (x,),
}

_FILLED: dict[str, float | str] = {"zeros": 0.0, "ones": 1.0, "zeros_like": 0.0, "ones_like": 1.0}
_FILLED |= {"new_zeros": 0.0, "new_ones": 1.0}
_FILLED |= dict.fromkeys(("full", "full_like", "new_full"), "fill_value")
_FILLERS: dict[str, tuple[str, ...]] = {
    "full": ("size", "fill_value"),
    "full_like": ("input", "fill_value"),
}
_FILLERS |= {"new_full": ("input", "size", "fill_value")}

ROWS = [
    *(
        Operation(
            name,
            "fixed",
            UNKNOWN,
            aliases,
            arguments=("input", "other"),
            compares="above" if name in ("gt", "ge") else "below",
            staircase=climb,
            examples=(Example(lambda x: (x, 0.1)),),
        )
        for name, aliases, climb in (
            ("gt", ("greater",), staircase.compared(0.0)),
            ("ge", ("greater_equal",), staircase.compared(1.0)),
            ("lt", ("less",), None),
            ("le", ("less_equal",), None),
        )
    ),
    *(
        Operation(
            name,
            "fixed",
            UNKNOWN,
            arguments=("input", "other"),
            mask=_OF_MASKS.get(name),
            examples=(Example(_EXAMPLES[name]),) if name in _EXAMPLES else (),
        )
        for name in (*_OF_TWO_SIZES, *_OF_ONE, *_OF_SEVERAL)
    ),
    *(
        Operation(
            name,
            "fixed",
            UNKNOWN,
            arguments=_FILLERS.get(name, ("input",)),
            filled_with=_FILLED.get(name),
        )
        for name in _MADE_OF_SIZES
    ),
    *(Operation(name, "shape", UNKNOWN) for name in _SIZES),
    *(
        Operation(
            name,
            "shape",
            UNKNOWN,
            arguments=_FILLERS.get(name, ("input",)),
            filled_with=_FILLED.get(name),
            examples=(
                Example(
                    {
                        "full_like": lambda x: (x, 0.5),
                        "new_full": lambda x: (x, x.shape, 0.5),
                        "new_zeros": lambda x: (x, x.shape),
                        "new_ones": lambda x: (x, x.shape),
                    }.get(name, lambda x: (x,))
                ),
            ),
        )
        for name in _LIKE
        if "empty" not in name
    ),
    *(Operation(name, "shape", UNKNOWN) for name in _LIKE if "empty" in name),
    Operation(
        "new_tensor",
        "shape",
        UNKNOWN,
        arguments=("input", "data"),
        constant=("data",),
        examples=(Example(lambda x: (x, [0.5])),),
    ),
]
