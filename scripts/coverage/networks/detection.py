"""Detectors without what follows their heads (anchors, non-maximum suppression)."""

from collections import OrderedDict
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection

PIXELS = 64
CLASSES = 4


class Heads(nn.Module):
    """A backbone that returns feature maps by name, and heads that take their list."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> Any:
        return self.head(list(self.backbone(x).values()))


class Conv(nn.Sequential):
    """Convolution, batch norm, SiLU, as in the YOLO family."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.SiLU(inplace=True))


class Split(nn.Module):
    """C2f: one half goes through bottlenecks, all that they give is concatenated."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.start, self.end = Conv(width, width), Conv((2 + depth) * width // 2, width)
        self.blocks = nn.ModuleList(Conv(width // 2, width // 2, 3) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.start(x).chunk(2, 1))
        parts.extend(block(parts[-1]) for block in self.blocks)
        return self.end(torch.cat(parts, 1))


class PyramidPool(nn.Module):
    """SPPF: one max pool three times in a row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start, self.end = Conv(width, width // 2), Conv(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        first = self.pool(x)
        second = self.pool(first)
        return self.end(torch.cat((x, first, second, self.pool(second)), 1))


class Yolo(nn.Module):
    """Two scales, a path down and up, boxes as means of distributions."""

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), Split(32, 2))
        self.deep = nn.Sequential(Conv(32, 64, 3, 2), Split(64, 1), PyramidPool(64))
        self.join = nn.Sequential(Conv(96, 32), Split(32, 1))
        self.heads = nn.ModuleList(nn.Conv2d(c, 4 * 8 + CLASSES, 1) for c in (32, 64))
        self.register_buffer("places", torch.arange(8.0))

    def forward(self, x: Tensor) -> Tensor:
        near = self.stem(x)
        far = self.deep(near)
        near = self.join(torch.cat((near, F.interpolate(far, scale_factor=2.0)), 1))
        maps = [head(m).flatten(2) for head, m in zip(self.heads, (near, far), strict=True)]
        boxes, scores = torch.cat(maps, 2).split((32, CLASSES), 1)
        shares = boxes.view(boxes.shape[0], 4, 8, -1).softmax(2)
        sides = (shares * self.places.view(1, 1, -1, 1)).sum(2)
        return torch.cat((sides, scores.sigmoid()), 1)


class CenterNet(nn.Module):
    """Transposed convolutions up to maps of centres, sizes and offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.features = timm.create_model("resnet10t", features_only=True, out_indices=(3,))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(256, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
        )
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Conv2d(32, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, out, 1))
                for name, out in (("heat", CLASSES), ("size", 2), ("offset", 2))
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.up(self.features(x)[0])
        return {name: head(x) for name, head in self.heads.items()}


class Detr(nn.Module):
    """A transformer whose queries become boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 16, 16)
        self.transformer = nn.Transformer(32, 4, 1, 1, 64, 0.0, batch_first=True)
        self.queries = nn.Parameter(torch.randn(5, 32))
        self.places = nn.Parameter(0.1 * torch.randn(1, (PIXELS // 16) ** 2, 32))
        self.scores, self.boxes = nn.Linear(32, CLASSES), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        found = self.transformer(tokens, self.queries.expand(x.shape[0], -1, -1))
        return OrderedDict(logits=self.scores(found), boxes=self.boxes(found).sigmoid())


class Pyramid(nn.Module):
    """A weighted bidirectional pyramid (EfficientDet) over timm's feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.features = timm.create_model("resnet10t", features_only=True, out_indices=(2, 3))
        self.sides = nn.ModuleList(nn.Conv2d(c, 32, 1) for c in (128, 256))
        self.weights = nn.Parameter(torch.tensor([0.7, 0.4]))
        self.near, self.far = nn.Conv2d(32, 32, 3, 1, 1), nn.Conv2d(32, 32, 3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        near, far = (side(m) for side, m in zip(self.sides, self.features(x), strict=True))
        shares = F.relu(self.weights)
        shares = shares / (shares.sum() + 1e-4)
        above = F.interpolate(far, size=near.shape[-2:])
        near = self.near(F.relu(shares[0] * near + shares[1] * above))
        return near, self.far(F.relu(far + F.max_pool2d(near, 3, 2, 1)))


def _images(pixels: int = PIXELS) -> Tensor:
    return torch.randn(3, 3, pixels, pixels)


def _pyramid(head: type[nn.Module] | None, *args: Any) -> tuple[nn.Module, Tensor]:
    backbone = detection.backbone_utils.resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    return (backbone if head is None else Heads(backbone, head(256, *args))), _images()


def _whole(build: Any, pixels: int) -> tuple[nn.Module, Tensor]:
    found = build(weights=None, weights_backbone=None, num_classes=CLASSES)
    return Heads(found.backbone, found.head), _images(pixels)


NETWORKS = {
    "ResNet-18 with a feature pyramid": lambda: _pyramid(None),
    "region proposals of Faster R-CNN": lambda: _pyramid(detection.rpn.RPNHead, 3),
    "RetinaNet's heads": lambda: _pyramid(detection.retinanet.RetinaNetHead, 3, CLASSES),
    "FCOS's heads": lambda: _pyramid(detection.fcos.FCOSHead, 1, CLASSES),
    "SSDLite on MobileNetV3": lambda: _whole(detection.ssdlite320_mobilenet_v3_large, PIXELS),
    "weighted pyramid (EfficientDet) on timm's features": lambda: (Pyramid(), _images()),
    "YOLO with C2f and SPPF": lambda: (Yolo(), _images()),
    "CenterNet": lambda: (CenterNet(), _images()),
    "DETR": lambda: (Detr(), _images()),
}
