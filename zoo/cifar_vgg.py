"""VGG-16 with batch norm for 32 x 32 images, the shape that CIFAR-10 papers report.

Thirteen convolutions and five pools (Simonyan and Zisserman 2015, configuration D); the paper's
head for 7 x 7 maps, 100 million weights, is replaced. Keys are those of the common public
checkpoints, `features.0.weight … classifier.weight`.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; then a pool

_HEAD = re.compile(r"classifier\.(\d+)\.(weight|bias)")


class CifarVGG(nn.Module):
    """VGG-16 with batch norm.

    Args:
        width: factor on the number of channels (64, 128, 256, 512, 512).
        num_classes: outputs.
        hidden: sizes of fully connected layers before the last one; (512, 512) is the other head
            found in the literature.

    Raises:
        ValueError: a width that leaves no channels.
    """

    pretrained_cfg: dict[str, Any]

    def __init__(
        self, width: float = 1.0, num_classes: int = 10, hidden: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        if int(64 * width) < 1:
            raise ValueError(f"width={width}: no channels are left; 0.25 gives 16, 32, 64, 128.")
        self.features = nn.Sequential(*_features(width))
        self.classifier = _head(int(512 * width), hidden, num_classes)
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, 32, 32] to [B, num_classes]."""
        return self.classifier(self.features(x).flatten(1))


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose head counts its layers otherwise (dropout first, or left out), in our count."""
    found = sorted({int(match[1]) for key in state if (match := _HEAD.fullmatch(key))})
    ours = {f"classifier.{n}.": f"classifier.{3 * i}." for i, n in enumerate(found)}
    return {_replace(key, ours): tensor for key, tensor in state.items()}


def arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `CifarVGG` for which renamed weights fit."""
    heads = sorted(key for key in state if _HEAD.fullmatch(key) and state[key].ndim == 2)
    return {"hidden": tuple(state[key].shape[0] for key in heads[:-1])}


def _features(width: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for channels, convolutions in STAGES:
        for _ in range(convolutions):
            outputs = int(channels * width)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(inplace=True)]
            inputs = outputs
        layers += [nn.MaxPool2d(2, 2)]
    return layers


def _head(inputs: int, hidden: tuple[int, ...], num_classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.ReLU(), nn.Dropout()]
        inputs = size
    last = nn.Linear(inputs, num_classes)
    return nn.Sequential(*layers, last) if layers else last


def _replace(key: str, prefixes: Mapping[str, str]) -> str:
    for theirs, ours in prefixes.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
