"""Norms and other reductions, evaluated on the running mean."""

from dataclasses import replace
from typing import Any

from torch import nn

from spikeport.convert.graph.group_norm import GroupNorm
from spikeport.convert.graph.operations.channels import ChannelRule, kept, last, second
from spikeport.convert.graph.operations.operation import Example, Operation
from spikeport.convert.graph.operations.spikes import MIXED, SELECTED

_INSTANCE = ("num_features", "eps", "momentum", "affine", "track_running_stats")


def _norm(
    name: str,
    layers: dict[type[nn.Module], tuple[str, ...]],
    arguments: tuple[str, ...],
    channels: ChannelRule,
    *examples: Example,
) -> Operation:
    return Operation(
        name,
        "difference",
        MIXED,
        layers=layers,
        arguments=arguments,
        channels=channels,
        examples=examples,
    )


def _reduction(name: str, *aliases: str, example: Any = lambda x: (x, 1)) -> Operation:
    return Operation(
        name,
        "difference",
        MIXED,
        aliases,
        arguments=("input", "dim", "keepdim"),
        examples=(Example(example),),
    )


ROWS = [
    _norm(
        "layer_norm",
        {nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine", "bias")},
        ("input", "normalized_shape", "weight", "bias", "eps"),
        last,
        Example(lambda x: (x, (6,)), layer=lambda cls: cls(6)),
    ),
    _norm(
        "rms_norm",
        {nn.RMSNorm: ("normalized_shape", "eps", "elementwise_affine")},
        ("input", "normalized_shape", "weight", "eps"),
        last,
        Example(lambda x: (x, (6,)), layer=lambda cls: cls(6)),
    ),
    _norm(
        "group_norm",
        {GroupNorm: ("num_groups", "num_channels", "eps", "affine")},
        ("input", "num_groups", "weight", "bias", "eps"),
        second,
        Example(lambda x: (x, 2), layer=lambda cls: cls(2, 4)),
    ),
    _norm(
        "instance_norm",
        {
            nn.InstanceNorm1d: _INSTANCE,
            nn.InstanceNorm2d: _INSTANCE,
            nn.InstanceNorm3d: _INSTANCE,
        },
        ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats"),
        second,
        Example(
            lambda x: (x,),
            layer=lambda cls: cls(4, affine=True),
        ),
    ),
    _norm(
        "local_response_norm",
        {nn.LocalResponseNorm: ("size", "alpha", "beta", "k")},
        ("input", "size", "alpha", "beta", "k"),
        kept,
        Example(lambda x: (x, 2), layer=lambda cls: cls(2)),
    ),
    _norm(
        "cosine_similarity",
        {nn.CosineSimilarity: ("dim", "eps")},
        ("x1", "x2", "dim", "eps"),
        kept,
        Example(lambda x: (x, x.roll(1, 2) + 1, 1), layer=lambda cls: cls(1)),
    ),
    Operation(
        "amax",
        "difference",
        SELECTED,
        arguments=("input", "dim", "keepdim"),
        examples=(Example(lambda x: (x, (2, 3))),),
    ),
    _reduction("amin"),
    replace(_reduction("max", "min"), of_two={"max": "maximum", "min": "minimum"}),
    Operation(
        "aminmax",
        "difference",
        MIXED,
        arguments=("input",),
        examples=(Example(keywords={"dim": 1}),),
    ),
    _reduction("prod"),
    _reduction("normalize", example=lambda x: (x + 0.1, 2, 1)),
    _reduction("norm", example=lambda x: (x + 0.1, 2, 1)),
    _reduction("vector_norm", example=lambda x: (x + 0.1, 2, 1)),
    _reduction("var", "std"),
    _reduction("var_mean", "std_mean"),
    _reduction("logsumexp"),
    _reduction("median", "nanmedian", "mode", "quantile"),
    _reduction("topk", "kthvalue", "sort", example=lambda x: (x, 2)),
]
