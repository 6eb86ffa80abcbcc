"""Networks on clips [B, C, frames, H, W] or [B, frames, C, H, W]."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import video

CLASSES = 5


class FrameByFrame(nn.Module):
    """A network for images on every frame, and an LSTM over what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
        self.memory, self.head = nn.LSTM(16, 12, batch_first=True), nn.Linear(12, CLASSES)

    def forward(self, clip: Tensor) -> Tensor:
        batch, frames = clip.shape[:2]
        said = self.frames(clip.flatten(0, 1)).view(batch, frames, -1)
        return self.head(self.memory(said)[0][:, -1])


class Shifted(nn.Module):
    """TSM: some channels come from the frame before, some from the one after."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, clip: Tensor) -> Tensor:
        batch, frames = clip.shape[:2]
        x = torch.relu(self.one(clip.flatten(0, 1)))
        x = x.view(batch, frames, *x.shape[1:])
        out = torch.zeros_like(x)
        out[:, :-1, :2] = x[:, 1:, :2]
        out[:, 1:, 2:4] = x[:, :-1, 2:4]
        out[:, :, 4:] = x[:, :, 4:]
        x = torch.relu(self.two(out.flatten(0, 1))).mean((2, 3))
        return self.head(x.view(batch, frames, -1).mean(1))


def _clips(build: Any, frames: int, pixels: int, **options: Any) -> tuple[nn.Module, Tensor]:
    model = build(weights=None, num_classes=CLASSES, **options)
    return model, torch.randn(3, 3, frames, pixels, pixels)


NETWORKS = {
    "R3D-18": lambda: _clips(video.r3d_18, 4, 32),
    "MC3-18": lambda: _clips(video.mc3_18, 4, 32),
    "R(2+1)D-18": lambda: _clips(video.r2plus1d_18, 4, 32),
    "frame by frame, LSTM": lambda: (FrameByFrame(), torch.randn(3, 5, 3, 16, 16)),
    "temporal shift (TSM)": lambda: (Shifted(), torch.randn(3, 4, 3, 16, 16)),
}
