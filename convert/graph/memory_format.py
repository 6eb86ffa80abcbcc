"""Layers that torch computes for maps with channels innermost in memory."""

from torch import nn


def takes_channels_last(module: nn.Module | None) -> bool:
    """Whether a layer may be given such maps, and weights that lie so.

    Torch's dilated convolutions with a kernel of 1 along some side read beyond small maps then, and
    the process dies. They compute contiguous maps, which is what the source network has.
    """
    if not isinstance(module, (nn.Conv2d, nn.Conv3d)):
        return True
    return max(module.dilation) == 1 or min(module.kernel_size) > 1
