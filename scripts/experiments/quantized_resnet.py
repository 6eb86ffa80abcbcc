"""A CIFAR-10 ResNet with quantised activations (QCFS: Bu et al. 2022), trained from our weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeport.zoo.cifar import load
from spikeport.zoo.cifar_resnet import BasicBlock, CifarResNet


class Floor(torch.autograd.Function):
    """Rounding down, whose gradient is that of the identity."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """Any shape."""
        return x.floor()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Straight through."""
        return gradient


class QuantizedReLU(nn.Module):
    """``θ / L · clamp(floor(x · L / θ + 1/2), 0, L)`` with a learned θ.

    Args:
        levels: L, above zero.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels, self.top = levels, nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        part = (x / self.top).clamp(0, 1)
        rounded: Tensor = Floor.apply(part * self.levels + 0.5)
        return rounded / self.levels * self.top


class QuantizedBlock(BasicBlock):
    """A block whose two activations are modules."""

    act1: nn.Module
    act2: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """See ``BasicBlock``."""
        y = self.act1(self.bn1(self.conv1(x)))
        out: Tensor = self.act2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class QuantizedResNet(CifarResNet):
    """A network of such blocks."""

    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """See ``CifarResNet``."""
        x = self.act(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return out


def quantized_resnet20(levels: int) -> CifarResNet:
    """ResNet-20 with the weights that come with Spikeport, before it learns to be quantised.

    Args:
        levels: of each activation, above zero.
    """
    network: Any = load("cifar10/resnet20")
    network.__class__ = QuantizedResNet
    network.act = QuantizedReLU(levels)
    for block in network.modules():
        if type(block) is BasicBlock:
            block.__class__ = QuantizedBlock
            block.act1, block.act2 = QuantizedReLU(levels), QuantizedReLU(levels)
    made: CifarResNet = network
    return made


@torch.no_grad()
def set_ranges(network: nn.Module, x: Tensor, quantile: float = 0.997) -> None:
    """Let every activation's θ be a quantile of what it is given, one activation after another.

    Args:
        network: in eval mode; its θ are changed.
        x: [B, 3, 32, 32], normalised.
        quantile: of the values, in (0, 1).
    """

    def set_range(module: Any, given: tuple[Tensor, ...]) -> None:
        values = given[0].flatten()[::7].sort().values
        module.top.fill_(values[int(quantile * (len(values) - 1))].clamp_min(0.1))

    acts = [module for module in network.modules() if isinstance(module, QuantizedReLU)]
    hooks = [act.register_forward_pre_hook(set_range) for act in acts]
    network(x)
    for hook in hooks:
        hook.remove()
