"""Weights as rows, one for each output channel, and units as one number per channel."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def is_quantizable(module: nn.Module | None) -> bool:
    """Whether a layer's weights can be whole numbers: convolutions and linear layers."""
    return isinstance(module, _ConvNd) or type(module) is nn.Linear


def channel_axis(module: nn.Module, rank: int) -> int:
    """The axis of the channels in an input or output of this rank."""
    return rank - 1 if isinstance(module, nn.Linear) else 1


def per_channel(unit: Tensor, axis: int) -> Tensor | None:
    """The unit of each channel, [C]; None where it differs within a channel.

    Zeros, at padded places, where there are never any spikes, do not count.

    Args:
        unit: [1, ...].
        axis: of the channels.
    """
    rows = unit.movedim(axis, 0).flatten(1)
    first = rows.gather(1, (rows != 0).double().argmax(1, keepdim=True))
    alike = torch.isclose(rows, first, rtol=1e-5, atol=0) | (rows == 0)
    return first[:, 0].clone() if bool(alike.all()) else None


def spike_sizes(module: Any, unit: Tensor) -> Tensor | None:
    """The value of a spike at each weight, shaped like the weights, float64.

    Args:
        module: a convolution or a linear layer.
        unit: of its input, [1, ...].

    Returns:
        None where the unit differs within a channel.
    """
    values = per_channel(unit.double(), channel_axis(module, unit.ndim))
    if values is None:
        return None
    ones = torch.ones_like(module.weight, dtype=torch.float64)
    if isinstance(module, nn.Linear):
        return ones * values
    sides = [1] * (ones.ndim - 2)
    if isinstance(module, _ConvTransposeNd):
        return ones * values.view(-1, 1, *sides)
    by_group = values.view(module.groups, 1, -1, *sides)
    return (ones.unflatten(0, (module.groups, -1)) * by_group).flatten(0, 1)


def as_rows(module: Any, weight: Tensor) -> Tensor:
    """Weights by group and output channel, [groups, channels / groups, N]."""
    grouped = weight.unflatten(0, (getattr(module, "groups", 1), -1))
    if isinstance(module, _ConvTransposeNd):  # [groups, in / groups, out / groups, ...]
        grouped = grouped.transpose(1, 2)
    return grouped.flatten(2)


def from_rows(module: Any, rows: Tensor) -> Tensor:
    """The inverse of ``as_rows``."""
    shape = module.weight.shape
    if isinstance(module, _ConvTransposeNd):
        grouped = rows.unflatten(2, (shape[0] // module.groups, *shape[2:]))
        return grouped.transpose(1, 2).flatten(0, 1)
    return rows.flatten(0, 1).view(shape)
