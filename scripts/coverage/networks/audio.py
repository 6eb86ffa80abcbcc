"""Networks on waveforms [B, 1, samples] and spectrograms [B, 1, bands, frames]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 5


class M5(nn.Module):
    """Raw waveforms, pooled over whatever length is left (Dai et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(1, 16, 40, 8), nn.BatchNorm1d(16)
        self.conv2, self.bn2 = nn.Conv1d(16, 32, 3), nn.BatchNorm1d(32)
        self.pool, self.head = nn.MaxPool1d(4), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)
        return F.log_softmax(self.head(x), dim=2)[:, 0]


class WaveNet(nn.Module):
    """Gated dilated convolutions, residuals and skips."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, 8, 1)
        self.pairs = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**i) for i in range(3))
        self.mixes = nn.ModuleList(nn.Conv1d(8, 16, 1) for _ in range(3))
        self.end = nn.Sequential(nn.ReLU(), nn.Conv1d(8, 8, 1), nn.ReLU(), nn.Conv1d(8, CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.start(x), 0.0
        for index, (pair, mix) in enumerate(zip(self.pairs, self.mixes, strict=True)):
            value, gate = pair(F.pad(x, (2**index, 0))).chunk(2, 1)
            residual, skip = mix(torch.tanh(value) * torch.sigmoid(gate)).chunk(2, 1)
            x, skips = x + residual, skips + skip
        return self.end(skips)


class TemporalBlocks(nn.Module):
    """TCN: causal, weight-normed, cut at the end (Bai et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.one = norm(nn.Conv1d(1, 8, 3, padding=2))
        self.two = norm(nn.Conv1d(8, 8, 3, padding=4, dilation=2))
        self.side, self.head = nn.Conv1d(1, 8, 1), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(x)[..., :-2])
        y = torch.relu(torch.relu(self.two(y)[:, :, :-4]) + self.side(x))
        return self.head(y[:, :, -1])


class Separator(nn.Module):
    """Conv-TasNet: masks on a learned basis, overlap and add by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.basis, self.back = nn.Conv1d(1, 16, 8, 4), nn.ConvTranspose1d(16, 1, 8, 4)
        self.norm = nn.GroupNorm(1, 16)
        self.block = nn.Sequential(
            *(nn.Conv1d(16, 24, 1), nn.PReLU(), nn.GroupNorm(1, 24)),
            *(nn.Conv1d(24, 24, 3, padding=1, groups=24), nn.PReLU(), nn.Conv1d(24, 32, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.relu(self.basis(x))
        masks = self.block(self.norm(mixed)).view(x.shape[0], 2, 16, -1).sigmoid()
        voices = (masks * mixed[:, None]).flatten(0, 1)
        return self.back(voices).view(x.shape[0], 2, -1)


class Keywords(nn.Sequential):
    """DS-CNN: depthwise separable convolutions on a spectrogram."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Conv2d(1, 16, (10, 4), 2, (5, 1)), nn.BatchNorm2d(16)]
        layers.append(nn.ReLU())
        for _ in range(2):
            for conv in (nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 16, 1)):
                layers += [conv, nn.BatchNorm2d(16), nn.ReLU()]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, CLASSES))
        super().__init__(*layers, *head)


class Recognizer(nn.Module):
    """Convolutions over a spectrogram, a GRU both ways, letters for every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, (2, 1), 1)
        self.memory = nn.GRU(4 * 10, 12, batch_first=True, bidirectional=True)
        self.letters = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.conv(x), 0.0, 20.0)
        x = x.permute(0, 3, 1, 2).flatten(2)
        return self.letters(self.memory(x)[0]).log_softmax(-1)


NETWORKS = {
    "M5 on waveforms": lambda: (M5(), torch.randn(3, 1, 800)),
    "WaveNet": lambda: (WaveNet(), torch.randn(3, 1, 60)),
    "TCN": lambda: (TemporalBlocks(), torch.randn(3, 1, 60)),
    "Conv-TasNet": lambda: (Separator(), torch.randn(3, 1, 84)),
    "DS-CNN for keywords": lambda: (Keywords(), torch.randn(3, 1, 49, 10)),
    "speech recognizer (DeepSpeech 2)": lambda: (Recognizer(), torch.randn(3, 1, 20, 15)),
}
