"""A network with a layer of every kind, small ones of one kind, and data for them."""

import pytest
import torch
from torch import Tensor, nn

from tests.same_start import same_start as same_start


class Everything(nn.Module):
    """Grouped, depthwise and "same" convolutions, max-pool, residual, ReLU6, bottleneck, tokens."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding="same")
        self.act1 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.act2 = nn.ReLU()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect")
        self.relu6 = nn.ReLU6()
        self.bottleneck = nn.Conv2d(8, 4, 1)
        self.expand = nn.Conv2d(4, 8, 1)
        self.act3 = nn.ReLU()
        self.tokens = nn.Linear(8, 6)
        self.act4 = nn.ReLU()
        self.mix = nn.Linear(6, 6)
        self.act5 = nn.ReLU()
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act1(self.conv1(x)))
        x = self.act2(self.grouped(x) + x)
        x = self.relu6(self.depthwise(x))
        x = self.act3(self.expand(self.bottleneck(x)))
        x = self.act4(self.tokens(x.flatten(2).transpose(1, 2)))  # [B, N, C]
        return self.head(self.act5(self.mix(x)).mean(1))


def plain() -> nn.Module:
    """Four convolutions with ReLUs and a linear head."""
    sizes, layers = [3, 8, 8, 8, 8], []
    for before, after in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, 5)).eval()


@pytest.fixture
def everything() -> nn.Module:
    return Everything().eval()


@pytest.fixture
def deep() -> nn.Module:
    return plain()


@pytest.fixture
def data() -> list[Tensor]:
    """Three batches of [6, 3, 6, 6]."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 3, 6, 6, generator=generator) for _ in range(3)]
