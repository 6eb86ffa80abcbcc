"""TensorFlow's 'SAME' padding, which depends on the input's size, as layers of their own.

They take the place of other libraries' versions by a class swap (the attributes are torch's), so
that a traced network keeps its freedom of resolution and can be saved.
"""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def pair(value: Any) -> tuple[int, int]:
    """A size for both dimensions, as layers take it: one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def pad_same(x: Tensor, layer: nn.Module, fill: float) -> Tensor:
    """Pad [..., H, W] so that a layer of stride s gives ceil(H/s), ceil(W/s)."""
    kernel, stride = pair(layer.kernel_size), pair(layer.stride)
    dilation = pair(getattr(layer, "dilation", 1))
    pads: list[int] = []
    for size, k, s, d in reversed(list(zip(x.shape[-2:], kernel, stride, dilation, strict=True))):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=fill) if any(pads) else x


class SamePadded:
    """Marks the layers of this file."""


class Conv2dSame(SamePadded, nn.Conv2d):
    """Convolution of [B, C, H, W] to [B, C', ceil(H/s), ceil(W/s)]."""

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        return F.conv2d(
            pad_same(input, self, 0.0),
            self.weight,
            self.bias,
            self.stride,
            0,
            self.dilation,
            self.groups,
        )


class AvgPool2dSame(SamePadded, nn.AvgPool2d):
    """Average pooling to ceil(H/s); the padding counts as zeros where ``count_include_pad``."""

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        return F.avg_pool2d(
            pad_same(input, self, 0.0),
            self.kernel_size,
            self.stride,
            0,
            self.ceil_mode,
            self.count_include_pad,
        )


class MaxPool2dSame(SamePadded, nn.MaxPool2d):
    """Max pooling to ceil(H/s)."""

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        return F.max_pool2d(
            pad_same(input, self, -math.inf),
            self.kernel_size,
            self.stride,
            0,
            self.dilation,
            self.ceil_mode,
        )
