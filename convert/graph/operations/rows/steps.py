"""Rounding and fake quantisation.

A chain of them that is a staircase becomes a neuron with its levels (``convert/staircases.py``);
what is left is evaluated on the running mean.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert.graph.operations import staircase
from spikeport.convert.graph.operations.operation import Example, InTime, Operation
from spikeport.convert.graph.operations.spikes import MIXED, ROUNDED, UNKNOWN
from spikeport.convert.graph.operations.staircase import Climb
from spikeport.convert.graph.rounding import ToUnit

_RANGE = ("quant_min", "quant_max")
_FUSED = (
    *("input", "observer_on", "fake_quant_on", "running_min", "running_max", "scale"),
    *("zero_point", "averaging_const", *_RANGE, "ch_axis", "per_row_fake_quant"),
    "symmetric_quant",
)


def _rounding(
    name: str,
    climb: Climb | None,
    *aliases: str,
    arguments: tuple[str, ...] = ("input",),
    example: Callable[[Tensor], tuple[Any, ...]] = lambda x: (x,),
    in_time: InTime = "difference",
) -> Operation:
    return Operation(
        name,
        in_time,
        MIXED if in_time == "difference" else UNKNOWN,
        aliases,
        arguments=arguments,
        constant=arguments[1:],
        staircase=climb,
        examples=(Example(example),),
    )


def _of_channels(x: Tensor) -> tuple[Any, ...]:
    return x, torch.full((4,), 0.1), torch.zeros(4, dtype=torch.int32), 1, -7, 7


def _to_small_unit(cls: type[nn.Module]) -> nn.Module:
    """A layer with a unit that is too small to show."""
    layer: Any = cls((4, 1, 1))
    layer.scale.fill_(2.0**16)
    return layer


ROWS = [
    _rounding("floor", staircase.floored),
    _rounding("ceil", staircase.raised, example=lambda x: (x - 0.3,)),
    _rounding("round", staircase.rounded, arguments=("input", "decimals")),
    _rounding("trunc", staircase.truncated, "fix"),
    _rounding("frac", None),
    _rounding("sign", None, "sgn"),
    _rounding(  # torch has no gradient for it
        "floor_divide",
        staircase.floor_divided,
        "floordiv",
        arguments=("input", "other"),
        example=lambda x: (x, 0.3),
        in_time="fixed",
    ),
    _rounding("remainder", None, "mod", arguments=("input", "other"), example=lambda x: (x, 0.7)),
    _rounding("fmod", None, arguments=("input", "other"), example=lambda x: (x, 0.7)),
    _rounding(
        "heaviside",
        staircase.compared(1.0),
        arguments=("input", "values"),
        example=lambda x: (x - 0.1, torch.tensor(1.0)),
    ),
    _rounding(
        "fake_quantize_per_tensor_affine",
        staircase.quantized,
        "fake_quantize_learnable_per_tensor_affine",
        arguments=("input", "scale", "zero_point", *_RANGE),
        example=lambda x: (x, 0.1, 3, 0, 15),
    ),
    _rounding(
        "fake_quantize_per_channel_affine",
        staircase.quantized,
        "fake_quantize_learnable_per_channel_affine",
        arguments=("input", "scale", "zero_point", "axis", *_RANGE),
        example=_of_channels,
    ),
    Operation(
        "fused_moving_avg_obs_fake_quant",
        "fixed",
        UNKNOWN,
        arguments=_FUSED,
        staircase=staircase.fused_quantized,
    ),
    Operation(
        "quantize_per_tensor",
        "fixed",
        UNKNOWN,
        arguments=("input", "scale", "zero_point", "dtype"),
        staircase=staircase.quantized,
    ),
    Operation(
        "quantize_per_channel",
        "fixed",
        UNKNOWN,
        arguments=("input", "scale", "zero_point", "axis", "dtype"),
        staircase=staircase.quantized,
    ),
    Operation(  # of an integer network
        "to_unit",
        "difference",
        ROUNDED,
        layers={ToUnit: ("shape",)},
        examples=(Example(layer=_to_small_unit),),
    ),
    Operation("dequantize", "fixed", UNKNOWN, staircase=staircase.unchanged),
    *(
        Operation(name, "fixed", UNKNOWN, staircase=staircase.truncated)
        for name in ("int", "long", "short", "byte", "char")
    ),
]
