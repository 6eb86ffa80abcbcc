"""Pools and other sums over windows."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikeport.convert.graph.operations.operation import Example, Operation
from spikeport.convert.graph.operations.spikes import (
    ACCUMULATED,
    AVERAGED,
    MIXED,
    MOVED,
    RESIZED,
    SELECTED,
)
from spikeport.convert.graph.operations.windows import (
    adaptive_side_by_side,
    adaptively_averaged_spikes,
    averaged_spikes,
    side_by_side,
)
from spikeport.convert.graph.same_padding import AvgPool2dSame, MaxPool2dSame

_POOL = ("kernel_size", "stride", "padding", "ceil_mode")
_AVERAGE = ("input", *_POOL, "count_include_pad", "divisor_override")
_MAX = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_SHAPES = {1: (4, 9), 2: (4, 6, 6), 3: (4, 4, 4, 4)}


def _average(dims: int, *classes: type[nn.Module]) -> Operation:
    more = ("count_include_pad",) if dims == 1 else ("count_include_pad", "divisor_override")
    return Operation(
        f"avg_pool{dims}d",
        "linear",
        AVERAGED(averaged_spikes),
        layers=dict.fromkeys(classes, (*_POOL, *more)),
        arguments=_AVERAGE,
        by_channel=True,
        engine="average" if dims == 2 else None,
        window=side_by_side if dims == 2 else None,
        examples=(
            Example(lambda x: (x, 2), _SHAPES[dims], layer=lambda cls: cls(2)),
            Example(
                lambda x: (x, 3, 2, 1, True),
                _SHAPES[dims],
                layer=lambda cls: cls(3, 2, 0 if cls is AvgPool2dSame else 1, True),
            ),
        ),
    )


def _adaptive_average(dims: int, cls: type[nn.Module]) -> Operation:
    return Operation(
        f"adaptive_avg_pool{dims}d",
        "linear",
        AVERAGED(adaptively_averaged_spikes),
        layers={cls: ("output_size",)},
        arguments=("input", "output_size"),
        by_channel=True,
        engine="average" if dims == 2 else None,
        window=adaptive_side_by_side if dims == 2 else None,
        examples=(
            Example(lambda x: (x, 1), _SHAPES[dims], layer=lambda cls: cls(1)),
            Example(lambda x: (x, 2), _SHAPES[dims], layer=lambda cls: cls(2)),
            Example(lambda x: (x, (4, 2, 3)[:dims]), _SHAPES[dims], layer=lambda cls: cls(3)),
        ),
    )


def _maximum(dims: int, *classes: type[nn.Module]) -> Operation:
    return Operation(
        f"max_pool{dims}d",
        "difference",
        SELECTED,
        aliases=(f"max_pool{dims}d_with_indices",),
        layers=dict.fromkeys(classes, (*_POOL, "dilation", "return_indices")),
        arguments=_MAX,
        by_channel=True,
        engine="max_pool" if dims < 3 else None,
        examples=(
            Example(lambda x: (x, 2), _SHAPES[dims], layer=lambda cls: cls(2)),
            Example(
                lambda x: (x, 3, 1, 1),
                _SHAPES[dims],
                layer=lambda cls: cls(3, 1, 0 if cls is MaxPool2dSame else 1),
            ),
        ),
    )


def _adaptive_maximum(dims: int, cls: type[nn.Module]) -> Operation:
    return Operation(
        f"adaptive_max_pool{dims}d",
        "difference",
        SELECTED,
        aliases=(f"adaptive_max_pool{dims}d_with_indices",),
        layers={cls: ("output_size", "return_indices")},
        arguments=("input", "output_size", "return_indices"),
        by_channel=True,
        examples=(Example(lambda x: (x, 2), _SHAPES[dims], layer=lambda cls: cls(2)),),
    )


def _power(dims: int, cls: type[nn.Module]) -> Operation:
    return Operation(
        f"lp_pool{dims}d",
        "difference",
        MIXED,
        layers={cls: ("norm_type", "kernel_size", "stride", "ceil_mode")},
        arguments=("input", "norm_type", "kernel_size", "stride", "ceil_mode"),
        examples=(Example(lambda x: (x, 2, 2), _SHAPES[dims], layer=lambda cls: cls(2, 2)),),
    )


_WINDOW = ("kernel_size", "stride", "padding")


def _peaked(x: Tensor) -> Tensor:
    """Values whose maxima are at the same places all the time."""
    places = torch.arange(x.shape[-1]) % 2 + torch.arange(x.shape[-2])[:, None] % 2
    return x + 2.0 * places + torch.arange(x.shape[2]).view(-1, *[1] * (x.ndim - 3)) % 2


def _unpool(dims: int, cls: type[nn.Module]) -> Operation:
    """Values at the places of maxima, which are those of the running mean."""
    pool = getattr(functional, f"max_pool{dims}d")
    return Operation(
        f"max_unpool{dims}d",
        "difference",
        MIXED,
        layers={cls: _WINDOW},
        arguments=("input", "indices", *_WINDOW),
        examples=(
            Example(
                lambda x: (*pool(_peaked(x), 2, return_indices=True), 2),
                _SHAPES[dims],
                layer=lambda cls: cls(2),
            ),
        ),
    )


ROWS = [
    _average(1, nn.AvgPool1d),
    _average(2, nn.AvgPool2d, AvgPool2dSame),
    _average(3, nn.AvgPool3d),
    _adaptive_average(1, nn.AdaptiveAvgPool1d),
    _adaptive_average(2, nn.AdaptiveAvgPool2d),
    _adaptive_average(3, nn.AdaptiveAvgPool3d),
    _maximum(1, nn.MaxPool1d),
    _maximum(2, nn.MaxPool2d, MaxPool2dSame),
    _maximum(3, nn.MaxPool3d),
    _adaptive_maximum(1, nn.AdaptiveMaxPool1d),
    _adaptive_maximum(2, nn.AdaptiveMaxPool2d),
    _adaptive_maximum(3, nn.AdaptiveMaxPool3d),
    _unpool(1, nn.MaxUnpool1d),
    _unpool(2, nn.MaxUnpool2d),
    _unpool(3, nn.MaxUnpool3d),
    _power(1, nn.LPPool1d),
    _power(2, nn.LPPool2d),
    _power(3, nn.LPPool3d),
    Operation(
        "interpolate",
        "linear",
        RESIZED,
        aliases=("upsample", "upsample_nearest", "upsample_bilinear"),
        layers={
            nn.Upsample: (
                "size",
                "scale_factor",
                "mode",
                "align_corners",
                "recompute_scale_factor",
            ),
            nn.UpsamplingNearest2d: ("size", "scale_factor"),
            nn.UpsamplingBilinear2d: ("size", "scale_factor"),
        },
        arguments=("input", "size", "scale_factor", "mode", "align_corners"),
        examples=(
            Example(lambda x: (x, None, 2), layer=lambda cls: cls(scale_factor=2)),
            Example(
                lambda x: (x, (9, 7), None, "bilinear"),
                layer=lambda cls: cls((9, 7), **{"mode": "bilinear"} if cls is nn.Upsample else {}),
            ),
        ),
    ),
    Operation(
        "unfold",
        "linear",
        MOVED,
        layers={nn.Unfold: ("kernel_size", "dilation", "padding", "stride")},
        arguments=("input", "kernel_size", "dilation", "padding", "stride"),
        examples=(
            Example(lambda x: (x, 2), layer=lambda cls: cls(2)),
            Example(lambda x: (x, 3, 1, 1, 2), layer=lambda cls: cls(3, 1, 1, 2)),
        ),
    ),
    Operation(
        "fold",
        "linear",
        ACCUMULATED,
        layers={nn.Fold: ("output_size", "kernel_size", "dilation", "padding", "stride")},
        arguments=("input", "output_size", "kernel_size", "dilation", "padding", "stride"),
        examples=(
            Example(lambda x: (x, (4, 4), 2), shape=(8, 9), layer=lambda cls: cls((4, 4), 2)),
        ),
    ),
]
