"""Rectifiers that become neurons, and activations that act on the running mean."""

import math
from numbers import Number
from typing import Any

from torch import nn

from spikeport.convert.graph.operations import staircase
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.operation import Example, Operation, Span
from spikeport.convert.graph.operations.spikes import MIXED, SLOPED


def _span(low: Any, high: Any) -> Span | None:
    """The range, if it contains 0 and its ends are numbers."""
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    if not isinstance(low, Number) or not isinstance(high, Number) or not low <= 0 <= high:  # type: ignore[operator]
        return None
    return float(low), float(high)  # type: ignore[arg-type]


def _clamp(call: Call) -> Span | None:
    return _span(call.given("min"), call.given("max"))


def _hardtanh(call: Call) -> Span | None:
    return _span(call.given("min_val", -1.0), call.given("max_val", 1.0))


def _threshold(call: Call) -> Span | None:
    """``x if x > 0 else 0`` is a ReLU."""
    at, value = call.given("threshold"), call.given("value")
    return (0.0, math.inf) if at == value == 0 else None


def _curve(
    name: str,
    *aliases: str,
    layer: type[nn.Module] | None = None,
    kept: tuple[str, ...] = (),
    arguments: tuple[str, ...] = ("input",),
    example: Example | None = None,
) -> Operation:
    """An activation without a spiking form of its own."""
    return Operation(
        name,
        "difference",
        MIXED,
        aliases,
        {layer: kept} if layer else {},
        arguments,
        examples=(example or Example(),),
    )


def _sloped(
    name: str,
    layer: type[nn.Module],
    kept: tuple[str, ...],
    arguments: tuple[str, ...],
    example: Example,
) -> Operation:
    return Operation(
        name,
        "difference",
        SLOPED,
        layers={layer: kept},
        arguments=arguments,
        by_channel=True,
        examples=(example,),
    )


ROWS = [
    Operation(
        "relu",
        "difference",
        MIXED,
        layers={nn.ReLU: ()},
        arguments=("input", "inplace"),
        activation=lambda call: (0.0, math.inf),
        staircase=staircase.clamped(0.0, None),
        examples=(Example(),),
    ),
    Operation(
        "relu6",
        "difference",
        MIXED,
        layers={nn.ReLU6: ()},
        arguments=("input", "inplace"),
        activation=lambda call: (0.0, 6.0),
        staircase=staircase.clamped(0.0, 6.0),
        examples=(Example(),),
    ),
    Operation(
        "hardtanh",
        "difference",
        MIXED,
        layers={nn.Hardtanh: ("min_val", "max_val")},
        arguments=("input", "min_val", "max_val", "inplace"),
        activation=_hardtanh,
        staircase=staircase.clamped("min_val", "max_val"),
        examples=(Example(lambda x: (x, -0.5, 0.5), layer=lambda cls: cls(-0.5, 0.5)),),
    ),
    Operation(
        "clamp",
        "difference",
        MIXED,
        ("clip",),
        arguments=("input", "min", "max"),
        activation=_clamp,
        staircase=staircase.clamped("min", "max"),
        examples=(
            Example(lambda x: (x, -0.5, 0.5)),
            Example(lambda x: (x, 0.0)),
            Example(lambda x: (x, 0.1, 0.5)),
        ),
    ),
    Operation(
        "clamp_min",
        "difference",
        MIXED,
        arguments=("input", "min"),
        activation=_clamp,
        staircase=staircase.clamped("min", None),
        examples=(Example(lambda x: (x, 0.0)), Example(lambda x: (x, -0.2))),
    ),
    Operation(
        "clamp_max",
        "difference",
        MIXED,
        arguments=("input", "max"),
        activation=_clamp,
        staircase=staircase.clamped(None, "max"),
        examples=(Example(lambda x: (x, 0.3)),),
    ),
    Operation(
        "threshold",
        "difference",
        MIXED,
        layers={nn.Threshold: ("threshold", "value")},
        arguments=("input", "threshold", "value", "inplace"),
        activation=_threshold,
        examples=(
            Example(lambda x: (x, 0.0, 0.0), layer=lambda cls: cls(0.0, 0.0)),
            Example(lambda x: (x, 0.1, 0.0), layer=lambda cls: cls(0.1, 0.0)),
        ),
    ),
    _sloped(
        "leaky_relu",
        nn.LeakyReLU,
        ("negative_slope",),
        ("input", "negative_slope", "inplace"),
        Example(lambda x: (x, 0.1), layer=lambda cls: cls(0.1)),
    ),
    _sloped("prelu", nn.PReLU, ("num_parameters",), ("input", "weight"), Example()),
    _sloped(  # in eval mode its slope is fixed
        "rrelu",
        nn.RReLU,
        ("lower", "upper"),
        ("input", "lower", "upper", "training", "inplace"),
        Example(lambda x: (x, 0.1, 0.3, False), layer=lambda cls: cls(0.1, 0.3)),
    ),
    _curve("sigmoid", "expit", layer=nn.Sigmoid),
    _curve("hardsigmoid", layer=nn.Hardsigmoid, arguments=("input", "inplace")),
    _curve("silu", layer=nn.SiLU, arguments=("input", "inplace")),
    _curve("hardswish", layer=nn.Hardswish, arguments=("input", "inplace")),
    _curve("gelu", layer=nn.GELU, kept=("approximate",)),
    _curve("elu", layer=nn.ELU, kept=("alpha",), arguments=("input", "alpha", "inplace")),
    _curve("celu", layer=nn.CELU, kept=("alpha",), arguments=("input", "alpha", "inplace")),
    _curve("selu", layer=nn.SELU, arguments=("input", "inplace")),
    _curve("mish", layer=nn.Mish, arguments=("input", "inplace")),
    _curve("softplus", layer=nn.Softplus, kept=("beta", "threshold")),
    _curve("softsign", layer=nn.Softsign),
    _curve("tanh", layer=nn.Tanh),
    _curve("logsigmoid", "log_sigmoid", layer=nn.LogSigmoid),
    _curve("hardshrink", layer=nn.Hardshrink, kept=("lambd",)),
    _curve("softshrink", layer=nn.Softshrink, kept=("lambd",)),
    _curve("tanhshrink", layer=nn.Tanhshrink),
    _curve(
        "glu",
        layer=nn.GLU,
        kept=("dim",),
        example=Example(lambda x: (x, 1), layer=lambda cls: cls(1)),
    ),
    _curve(
        "softmin",
        layer=nn.Softmin,
        kept=("dim",),
        example=Example(lambda x: (x, -1), layer=lambda cls: cls(-1)),
    ),
    Operation(
        "softmax",
        "difference",
        MIXED,
        layers={nn.Softmax: ("dim",), nn.Softmax2d: ()},
        arguments=("input", "dim"),
        examples=(
            Example(lambda x: (x, -1), layer=lambda cls: cls(-1) if cls is nn.Softmax else cls()),
        ),
    ),
    _curve(
        "log_softmax",
        layer=nn.LogSoftmax,
        kept=("dim",),
        example=Example(lambda x: (x, -1), layer=lambda cls: cls(-1)),
    ),
]
