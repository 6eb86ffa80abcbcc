"""Networks trained with few levels: activations and weights as their papers write them."""

from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 5


class _Floor(torch.autograd.Function):
    """Floor, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Qcfs(nn.Module):
    """Clip, floor and shift (Bu et al. 2022), with a learned top."""

    def __init__(self, levels: int = 8) -> None:
        super().__init__()
        self.levels, self.top = levels, nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.clamp(x / self.top, 0, 1)
        return _Floor.apply(x * self.levels + 0.5) / self.levels * self.top


class _Lsq(torch.autograd.Function):
    """Learned step size (Esser et al. 2020)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x, step)
        return (x / step).clamp(0, levels).round() * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, gradient.sum()[None], None


class Lsq(nn.Module):
    """LSQ's activation."""

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        self.step, self.levels = nn.Parameter(torch.tensor([0.2])), 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        return _Lsq.apply(x, self.step, self.levels)


class Pact(nn.Module):
    """PACT (Choi et al. 2018): its clip is half the difference of two absolute values."""

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        self.alpha, self.levels = nn.Parameter(torch.tensor(1.4)), 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        x = torch.where(x < self.alpha, x, self.alpha)
        scale = self.levels / self.alpha
        return _Floor.apply(x * scale + 0.5) / scale


class _Sign(torch.autograd.Function):
    """Sign, with the gradient inside [-1, 1]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class BinaryConv(nn.Conv2d):
    """Weights of one bit and a scale for each output channel (XNOR-Net)."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, _Sign.apply(self.weight) * scale, self.bias)


class FewLevels(nn.Conv2d):
    """Weights of four bits, rounded in every forward."""

    def forward(self, x: Tensor) -> Tensor:
        step = self.weight.abs().amax() / 7
        weight = _Floor.apply(self.weight / step + 0.5).clamp(-7, 7) * step
        return self._conv_forward(x, weight, self.bias)


def _network(activation: type[nn.Module], conv: type[nn.Conv2d] = nn.Conv2d) -> Any:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 8), (8, 8), (8, 16)):
        layers += [conv(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), activation()]
    head = (nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, CLASSES))
    return nn.Sequential(*layers, *head), torch.randn(3, 3, 8, 8)


def _prepared() -> tuple[nn.Module, Tensor]:
    from torch.ao import quantization as ao

    class Stubbed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
            self.net, _ = _network(nn.ReLU)

        def forward(self, x: Tensor) -> Tensor:
            return self.dequant(self.net(self.quant(x)))

    model = Stubbed().train()
    model.qconfig = ao.get_default_qat_qconfig("fbgemm")
    ao.prepare_qat(model, inplace=True)
    x = torch.randn(3, 3, 8, 8)
    model(x)
    model.apply(ao.disable_observer)
    return model, x


NETWORKS = {
    "QCFS": lambda: _network(Qcfs),
    "LSQ": lambda: _network(Lsq),
    "PACT": lambda: _network(Pact),
    "PACT, weights of 4 bits": lambda: _network(Pact, FewLevels),
    "binary weights": lambda: _network(nn.ReLU, BinaryConv),
    "torch.ao, prepared for training": _prepared,
}
