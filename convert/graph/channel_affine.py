"""Batch norm that no convolution can take: a fixed gain and offset per channel."""

import torch
from torch import Tensor, nn

from spikeport.convert.errors import ConversionError


class ChannelAffine(nn.Module):
    """``x · gain + offset`` with one gain and offset per channel, dimension 1 of [B, C, ...].

    Exact in time when it stands on a current: the mean over timesteps passes through.

    Attributes:
        channels: C.
        gain: [C].
        offset: [C].
    """

    op_name = "channel_affine"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gain = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    @classmethod
    def of_batch_norm(cls, norm: nn.modules.batchnorm._BatchNorm) -> "ChannelAffine":
        """The affine map of a batch norm with running statistics in eval mode."""
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise ConversionError("a batch norm without running statistics is no fixed gain")
        gain = torch.rsqrt(variance + norm.eps)
        if norm.weight is not None:
            gain = gain * norm.weight
        offset = -mean * gain
        if norm.bias is not None:
            offset = offset + norm.bias
        affine = cls(len(gain)).to(gain)
        affine.gain.data.copy_(gain.detach())
        affine.offset.data.copy_(offset.detach())
        return affine

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] to the same shape."""
        shape = [1, -1] + [1] * (x.ndim - 2)
        return x * self.gain.view(shape) + self.offset.view(shape)
