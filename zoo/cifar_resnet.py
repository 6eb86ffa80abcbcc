"""The ResNets for 32 x 32 images of He et al. 2016, "Deep Residual Learning" (section 4.2).

Written out because neither timm nor torchvision has them. Attribute names are those of the common
public checkpoints: `conv1, bn1, layer1.0.conv1 … layer3.N.bn2, linear`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

DEPTHS = (20, 32, 44, 56)

# One architecture, three spellings of its last layer and its shortcuts.
_SPELLINGS = (("fc.", "linear."), (".downsample.", ".shortcut."))


class PaddedShortcut(nn.Module):
    """Option A: every second pixel, and zeros for the channels that are new."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C + new_channels, H / 2, W / 2]."""
        before = self.new_channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, self.new_channels - before))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 and projection:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
        elif stride != 1:
            self.shortcut = PaddedShortcut(outputs - inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Three stages of 16, 32 and 64 channels.

    Args:
        depth: number of weighted layers, 6 n + 2.
        num_classes: outputs.
        projection: where the size changes, a 1 x 1 convolution (option B) instead of the paper's
            parameter-free shortcut (option A).

    Raises:
        ValueError: a depth that is not 6 n + 2.
    """

    pretrained_cfg: dict[str, Any]

    def __init__(self, depth: int = 20, num_classes: int = 10, projection: bool = False) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth={depth}: a CIFAR ResNet has 6 n + 2 layers: 8, 14, 20, ...")
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, projection)
        self.layer2 = _stage(16, 32, blocks, projection)
        self.layer3 = _stage(32, 64, blocks, projection)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, 32, 32] to [B, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of another public spelling (`fc`, `downsample`) under this module's keys."""
    return {_rename(key): tensor for key, tensor in state.items()}


def arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `CifarResNet` for which renamed weights fit."""
    return {"projection": any(".shortcut.0." in key for key in state)}


def _stage(inputs: int, outputs: int, blocks: int, projection: bool) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, 1 if inputs == outputs else 2, projection)
    rest = (BasicBlock(outputs, outputs, 1, projection) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _rename(key: str) -> str:
    for theirs, ours in _SPELLINGS:
        if key.startswith(theirs) or (theirs[0] == "." and theirs in key):
            key = key.replace(theirs, ours, 1)
    return key
