"""Networks that people have: converted in one call, equal when analog, closer with time."""

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from spikeport.convert import Neuron


class BasicBlock(nn.Module):
    """Of the CIFAR ResNets: functional ReLUs and a shortcut without parameters."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, outside // inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut = lambda x: x
        if inside != outside:
            more = (outside - inside) // 2
            self.shortcut = lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [(16, 16), (16, 32), (32, 64)]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(BasicBlock(a, b), BasicBlock(b, b), BasicBlock(b, b)) for a, b in widths
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.avg_pool2d(x, x.size()[3]).view(x.size(0), -1))


def from_timm(name: str) -> nn.Module:
    narrow = {"mlp_ratio": 1 / 16} if name.startswith("vgg") else {}
    return timm.create_model(name, num_classes=20, **narrow)


def googlenet() -> nn.Module:
    return torchvision.models.googlenet(
        weights=None, aux_logits=False, init_weights=False, num_classes=20
    )


# name: (model, pixels, number of neuron layers, some of their names)
MODELS = {
    "resnet18": (from_timm, 64, 17, ["act1", "layer1.0.act1", "layer4.1.act2"]),
    "resnet50": (from_timm, 64, 49, ["act1", "layer1.0.act1", "layer4.2.act3"]),
    "vgg11_bn": (from_timm, 32, 10, ["features.2", "pre_logits.act1", "pre_logits.act2"]),
    "mobilenetv2_100": (from_timm, 64, 52, ["bn1.act", "blocks.0.0.bn1.act", "bn2.act"]),
    "densenet121": (from_timm, 64, 121, ["features.norm0.act", "features.norm5.act"]),
    "regnety_008": (from_timm, 64, 71, ["stem.bn.act", "s1.b1.act3", "s1.b1.se.act"]),
    "resnetv2_50": (from_timm, 64, 49, ["stages.0.blocks.0.norm1.act", "norm.act"]),
    "googlenet": (lambda name: googlenet(), 64, 57, ["conv1.relu", "inception5b.branch4.1.relu"]),
    "resnet20": (lambda name: ResNet20(), 32, 19, ["relu", "layer1.0.relu", "layer3.2.relu#1"]),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_model(name, converted, randomise):
    make, pixels, count, names = MODELS[name]
    x = F.interpolate(torch.randn(4, 3, 8, 8), size=(pixels, pixels))  # in noise all is alike
    model, x = randomise(make(name), x), x[:2]
    # random weights amplify: with fewer levels networks of this depth need a longer T
    snn = converted(model, x, Neuron(64, 64))
    assert set(names) <= snn.neurons.keys()
    assert len(snn.neurons) == count
    assert snn.analog_layers() == []

    expected = model(x)
    spread = (expected[0] - expected[1]).norm()
    assert spread > 0.05 * expected.norm()  # the output says something about the image
    assert torch.allclose(snn.analog(x), expected, atol=1e-4 * expected.abs().max())
    outputs = snn.anytime(x, 32)
    error = (outputs - expected).flatten(1).norm(dim=1) / spread
    assert error[31] < 0.4 * error[3]
    assert error[31] < 0.3
