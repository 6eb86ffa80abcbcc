"""Neurons in memory: tensors [T, B, ...] as rows [T, N], without a copy where there can be none."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The order of a layer's neurons in a row.

    Attributes:
        shape: [B, ...].
        order: the dimensions of that in the order in which they lie in memory.
        channel_dim: where the channels stand in [B, ...].
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    channel_dim: int

    @classmethod
    def of(cls, current: Tensor, channel_dim: int = 1) -> "Layout":
        """The layout of a current, [T, B, ...]: channels last where its memory is."""
        dims = tuple(range(current.ndim - 1))
        last = (0, *dims[2:], 1) if len(dims) > 2 else dims
        dense = current.permute(0, *(d + 1 for d in last)).is_contiguous()
        order = last if dense and not current.is_contiguous() else dims
        return cls(tuple(current.shape[1:]), order, channel_dim % len(dims))

    @property
    def neurons(self) -> int:
        """N."""
        return math.prod(self.shape)

    @property
    def inner(self) -> int:
        """Neighbours in memory that share a channel; 1 where each neuron has its own parameters."""
        place = self.order.index(self.channel_dim)
        return math.prod(self.shape[dim] for dim in self.order[place + 1 :])

    @property
    def channels_last(self) -> bool:
        """Whether a map's neighbours in memory are other channels of the same pixel."""
        return len(self.shape) > 2 and self.order[-1] == self.channel_dim

    def rows(self, values: Tensor) -> Tensor:
        """[T, B, ...] as contiguous [T, N]."""
        moved = values.permute(0, *(dim + 1 for dim in self.order))
        return moved.reshape(len(values), self.neurons).contiguous()

    def row(self, values: Tensor) -> Tensor:
        """Values that broadcast to [B, ...] as [N]."""
        return self.rows(values.expand(self.shape)[None])[0]

    def tensor(self, rows: Tensor) -> Tensor:
        """The inverse of ``rows``."""
        sizes = [self.shape[dim] for dim in self.order]
        back = [self.order.index(dim) + 1 for dim in range(len(self.order))]
        return rows.view(len(rows), *sizes).permute(0, *back)

    def parameter(self, values: Tensor) -> tuple[Tensor, int]:
        """Parameters of a layer for a kernel.

        Args:
            values: [C], or one for every neuron of an image, [C, ...].

        Returns:
            The values and how many neighbours in memory share each.
        """
        if values.ndim <= 1:
            inner = self.inner if len(self.shape) > 1 else self.neurons  # [B] has one channel
            return values.contiguous(), inner
        image = values.expand(self.shape[1:])
        order = [dim - 1 for dim in self.order if dim > 0]
        return image.permute(order).contiguous().flatten(), 1
