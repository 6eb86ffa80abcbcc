"""The first batch of data, from which a network is traced: before there is a converted network."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert.batches import Batch, take_apart
from spikeport.convert.inputs import Input, Inputs, Signature
from spikeport.convert.tracing.source_check import unwrapped

KINDS = inspect.Parameter


def signature_of(model: nn.Module) -> Signature:
    """The arguments that a source network's forward takes."""
    model = unwrapped(model)
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # written in C
        return Signature()
    variable = (KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD)
    named = [one for one in parameters if one.kind not in variable]
    return Signature(
        arguments=tuple(one.name for one in named),
        required=tuple(one.name for one in named if one.default is KINDS.empty),
        more=len(named) < len(parameters),
        integers=any(isinstance(one, nn.Embedding | nn.EmbeddingBag) for one in model.modules()),
    )


def taken_for(batch: Any, model: nn.Module) -> Batch:
    """``take_apart`` for a network that is not converted yet."""
    weights = (value for value in model.parameters() if value.is_floating_point())
    return take_apart(batch, signature_of(model), next(weights, None))


def three_that_differ(x: Input) -> Input:
    """Three rows of a batch; where it has fewer, others made of them."""
    if isinstance(x, Inputs):
        return x.map(_three)
    return _three(x)


def _three(x: Tensor) -> Tensor:
    if x.is_floating_point():
        return torch.cat([x[:3], 0.75 * x[:1], 0.5 * x[:1]])[:3]
    other = x[:1]
    if x.ndim > 1 and x.dtype != torch.bool and int(x.max()) > 1:  # token ids, and no mask
        other = x[:1].roll(1, -1)
    return torch.cat([x[:3], other, x[:1]])[:3]
