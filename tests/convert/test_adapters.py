"""Low-rank adapters (LoRA: Hu et al. 2021) and the wrappers around them, written as people do."""

import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert.saving.container import load, save


class AdaptedLinear(nn.Module):
    """As peft writes it: adapters by name, in dicts."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base_layer, self.scaling, self.active = base, {"default": 0.5}, ["default"]
        down, up = (
            nn.Linear(base.in_features, rank, bias=False),
            nn.Linear(rank, base.out_features, bias=False),
        )
        self.lora_A, self.lora_B = (
            nn.ModuleDict({"default": down}),
            nn.ModuleDict({"default": up}),
        )

    def forward(self, x, *args, **kwargs):
        result = self.base_layer(x, *args, **kwargs)
        for name in self.active:
            low = self.lora_A[name](x.to(self.lora_A[name].weight.dtype))
            result = result + self.lora_B[name](low) * self.scaling[name]
        return result


class DerivedLinear(nn.Linear):
    """A layer with two more parameters, read through their transposes."""

    def __init__(self, inputs, outputs, rank=2):
        super().__init__(inputs, outputs)
        self.A = nn.Parameter(torch.randn(rank, inputs))
        self.B = nn.Parameter(torch.randn(outputs, rank))

    def forward(self, x):
        return F.linear(x, self.weight, self.bias) + 0.5 * (x @ self.A.T @ self.B.T)


class MergedConv(nn.Module):
    """A kernel with an update of low rank."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        self.A = nn.Parameter(torch.randn(2, conv.in_channels * 9) / 9)
        self.B = nn.Parameter(torch.randn(conv.out_channels, 2))

    def forward(self, x):
        weight = self.conv.weight + (self.B @ self.A).view(self.conv.weight.shape)
        return F.conv2d(x, weight, self.conv.bias, padding=1)


class Wrapper(nn.Module):
    """Hands on whatever it does not have."""

    def __init__(self, base):
        super().__init__()
        self.base_model = base

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base_model, name)

    def forward(self, *args, **kwargs):
        return self.base_model(*args, **kwargs)


@torch.no_grad()
def test_adapters_are_part_of_the_network(images, converted, tmp_path):
    model = nn.Sequential(
        *(MergedConv(nn.Conv2d(3, 2, 3)), nn.ReLU(), nn.Flatten()),
        *(AdaptedLinear(nn.Linear(128, 8)), nn.ReLU(), DerivedLinear(8, 4)),
    )
    model = Wrapper(model).eval()
    snn = converted(model, images)
    assert torch.allclose(snn.analog(images), model(images), atol=1e-4)
    expected = snn(images, 6)
    save(snn, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn")(images, 6), expected)
