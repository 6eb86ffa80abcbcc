"""Networks that give a value for every pixel."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import segmentation

CLASSES = 5


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
        *(nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
    )


class UNet(nn.Module):
    """Down by max pools, up by transposed convolutions or interpolation, padded, concatenated."""

    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        self.start, self.down = _double(3, 8), _double(8, 16)
        self.bottom = _double(16, 32)
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(c, c // 2, 1),
            )
            if bilinear
            else nn.ConvTranspose2d(c, c // 2, 2, 2)
            for c in (32, 16)
        )
        self.joins = nn.ModuleList(_double(c, c // 2) for c in (32, 16))
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        sides = [self.start(x)]
        sides.append(self.down(F.max_pool2d(sides[0], 2)))
        x = self.bottom(F.max_pool2d(sides[1], 2))
        for up, join, side in zip(self.ups, self.joins, reversed(sides), strict=True):
            x = up(x)
            dy, dx = side.size(2) - x.size(2), side.size(3) - x.size(3)
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = join(torch.cat([side, x], 1))
        return self.head(x)


class LinkNet(nn.Module):
    """Sums instead of concatenations, one channel of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.PReLU())
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.out = nn.ConvTranspose2d(8, 1, 3, 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        return self.out(self.up(self.two(one)) + one)[:, 0]


class PixelShuffled(nn.Module):
    """Super-resolution: residual blocks without norms, a pixel shuffle, the image added."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 16, 3, 1, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1))
            for _ in range(2)
        )
        self.tail = nn.Sequential(nn.Conv2d(16, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        for block in self.blocks:
            y = y + 0.1 * block(y)
        return self.tail(y) + F.interpolate(x, scale_factor=2, mode="bicubic")


class SegNet(nn.Module):
    """Pooled with indices, unpooled at the same places."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, CLASSES, 3, 1, 1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x, places = self.pool(F.relu(self.one(x)))
        return self.two(self.unpool(x, places))


class AutoEncoder(nn.Module):
    """An image through a bottleneck, and the bottleneck too."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(16 * 64, 10)),
        )
        self.up = nn.Sequential(
            *(nn.Linear(10, 16 * 64), nn.ReLU(), nn.Unflatten(1, (16, 8, 8))),
            *(nn.ConvTranspose2d(16, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2)),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.down(x)
        return self.up(code), code


def _images(model: nn.Module, pixels: int = 32) -> tuple[nn.Module, Tensor]:
    return model, torch.randn(3, 3, pixels, pixels)


def _torchvision(build: Any) -> tuple[nn.Module, Tensor]:
    return _images(build(weights=None, weights_backbone=None, num_classes=CLASSES), 64)


NETWORKS = {
    "U-Net, transposed convolutions": lambda: _images(UNet(False)),
    "U-Net, bilinear, odd sizes": lambda: _images(UNet(True), 30),
    "LinkNet": lambda: _images(LinkNet()),
    "SegNet with unpooling": lambda: _images(SegNet()),
    "super-resolution": lambda: _images(PixelShuffled(), 16),
    "autoencoder": lambda: _images(AutoEncoder()),
    "LR-ASPP on MobileNetV3": lambda: _torchvision(segmentation.lraspp_mobilenet_v3_large),
    "DeepLabV3 on MobileNetV3": lambda: _torchvision(segmentation.deeplabv3_mobilenet_v3_large),
}
