"""Layers in the places of functions that are called with weights that never change."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from spikeport.convert.graph.operations.call import Call

Lift = Callable[[Call], nn.Module]


def linear(call: Call) -> nn.Module:
    """``F.linear(x, weight, bias)``."""
    weight, bias = call.argument("weight"), call.argument("bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return _with_weights(layer, weight, bias)


def convolution(cls: Any) -> Lift:
    """``F.conv2d(x, weight, …)`` and its like, also transposed ones, as a layer of the class."""
    # the weights of transposed ones are [C in, C out / groups, ...]
    turned = issubclass(cls, nn.modules.conv._ConvTransposeNd)

    def lift(call: Call) -> nn.Module:
        weight, bias = call.argument("weight"), call.argument("bias")
        groups = call.argument("groups", 1)
        channels = (weight.shape[1] * groups, weight.shape[0])
        more = {"output_padding": call.argument("output_padding", 0)} if turned else {}
        layer = cls(
            *(reversed(channels) if turned else channels),
            tuple(weight.shape[2:]),
            call.argument("stride", 1),
            call.argument("padding", 0),
            dilation=call.argument("dilation", 1),
            groups=groups,
            bias=bias is not None,
            **more,
        )
        return _with_weights(layer, weight, bias)

    return lift


def batch_norm(call: Call) -> nn.Module:
    """``F.batch_norm(x, mean, variance, …)``; without statistics of its own if it has none."""
    mean, variance = call.argument("running_mean"), call.argument("running_var")
    if call.argument("training", False) or mean is None:
        return nn.BatchNorm1d(1, track_running_stats=False)
    weight = call.argument("weight")
    layer = nn.BatchNorm1d(len(mean), call.argument("eps", 1e-5), affine=weight is not None)
    layer.running_mean, layer.running_var = mean, variance
    return _with_weights(layer, weight, call.argument("bias"))


def _with_weights(layer: nn.Module, weight: Tensor | None, bias: Tensor | None) -> nn.Module:
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            kept = value if isinstance(value, nn.Parameter) else nn.Parameter(value.detach())
            setattr(layer, name, kept)
    return layer
