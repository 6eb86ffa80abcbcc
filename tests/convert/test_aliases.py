"""Other names of an operation are that operation: a list of spellings that no table gives."""

import pytest
import torch
from torch.nn import functional as F

from spikeport.convert import ConversionError

SQUARE = torch.linspace(-1, 1, 64).view(8, 8)

# spelling: (what it does to x [B, 4, 8, 8], the operation's name, or the neuron's)
SPELLINGS = {
    "torch.subtract": (lambda x: torch.subtract(x, 0.5 * x.roll(1, 2)), "sub"),
    "x.subtract": (lambda x: x.subtract(0.5 * x.roll(1, 2)), "sub"),
    "x - y": (lambda x: x - 0.5 * x.roll(1, 2), "sub"),
    "torch.negative": (torch.negative, "neg"),
    "-x": (lambda x: -x, "neg"),
    "torch.absolute": (torch.absolute, "abs"),
    "x.absolute": (lambda x: x.absolute(), "abs"),
    "abs(x)": (abs, "abs"),
    "x.multiply": (lambda x: x.multiply(0.5), "mul"),
    "x.divide": (lambda x: x.divide(2), "div"),
    "torch.true_divide": (lambda x: torch.true_divide(x, 2), "div"),
    "x / 2": (lambda x: x / 2, "div"),
    "torch.concat": (lambda x: torch.concat([x, x], 3), "cat"),
    "torch.concatenate": (lambda x: torch.concatenate([x, x], 3), "cat"),
    "x.swapaxes": (lambda x: x.swapaxes(2, 3), "transpose"),
    "x.swapdims": (lambda x: x.swapdims(2, 3), "transpose"),
    "torch.moveaxis": (lambda x: torch.moveaxis(x, 2, 3), "movedim"),
    "torch.ravel": (lambda x: torch.flatten(x.unflatten(0, (-1, 1)), 0, 1), "flatten"),
    "x.view": (lambda x: x.view(x.size(0), 4, 64).unsqueeze(-1), "reshape"),
    "x.mT": (lambda x: x.mT, "getattr"),
    "torch.special.expit": (torch.special.expit, "sigmoid"),
    "torch.sigmoid": (torch.sigmoid, "sigmoid"),
    "torch.special.softmax": (lambda x: torch.special.softmax(x, 1), "softmax"),
    "x.softmax": (lambda x: x.softmax(1), "softmax"),
    "torch.linalg.matmul": (lambda x: torch.linalg.matmul(x, x.mT), "matmul"),
    "x @ y": (lambda x: x @ x.mT, "matmul"),
    "torch.matmul": (lambda x: torch.matmul(x, x.mT), "matmul"),
    "x @ W": (lambda x: x @ SQUARE, "linear"),
    "torch.mm": (lambda x: torch.mm(x.mean((2, 3)), SQUARE[:4])[..., None, None], "linear"),
    "x.where": (lambda x: x.where(SQUARE > 0, torch.zeros(())), "where"),
    "torch.where": (lambda x: torch.where(SQUARE > 0, x, torch.zeros(())), "where"),
    "W @ x": (lambda x: SQUARE @ x, "linear"),
    "torch.einsum": (lambda x: torch.einsum("bchw,wv->bchv", x, SQUARE), "linear"),
    "torch.linalg.norm": (
        lambda x: x / (1 + torch.linalg.norm(x, dim=1, keepdim=True)),
        "norm",
    ),
    "torch.linalg.vector_norm": (
        lambda x: x / (1 + torch.linalg.vector_norm(x, dim=1, keepdim=True)),
        "vector_norm",
    ),
    "torch.fmax": (lambda x: torch.fmax(x, x.roll(1, 2)), "maximum"),
    "torch.float_power": (lambda x: (x + 1).float_power(1.5).float(), "pow"),
    "torch.arctan": (torch.arctan, "atan"),
    "torch.log1p": (torch.log1p, "log1p"),
    "F.upsample": (lambda x: F.interpolate(x, scale_factor=2), "interpolate"),
    "x.narrow": (lambda x: x.narrow(1, 0, 4), "narrow"),
    "x.broadcast_to": (lambda x: x[:, :1].expand(-1, 4, -1, -1), "expand"),
    "torch.clone": (torch.clone, "neuron"),
    "x.contiguous": (lambda x: x.contiguous(), "neuron"),
    "x.data": (lambda x: x.data, "neuron"),
    "x.cpu": (lambda x: x.cpu(), "neuron"),
    "+x": (lambda x: +x, "neuron"),
    "F.dropout": (lambda x: F.dropout(x, 0.5, False), "neuron"),
    "F.threshold": (lambda x: F.threshold(x - 0.1, 0.0, 0.0), "neuron"),
    "x.clip": (lambda x: (x - 0.1).clip(0, 2), "neuron"),
    "x.relu_": (lambda x: (x - 0.1).relu_(), "neuron"),
    "torch.clamp_": (lambda x: torch.clamp_(x - 0.1, 0), "neuron"),
    "F.hardtanh": (lambda x: F.hardtanh(x - 0.1, 0.0, 1.0), "neuron"),
    "y * (y > 0)": (lambda x: masked(x - 0.1), "neuron"),
    "where(y > 0, y, 0.)": (lambda x: chosen(x - 0.1), "neuron"),
    "where(y < 1, y, 1)": (lambda x: clipped(x), "neuron"),
    "where(y > 0, y, y / 10)": (lambda x: sloped(x - 0.1), "leaky_relu"),
    "F.rrelu": (lambda x: F.rrelu(x - 0.1), "rrelu"),
    "F.instance_norm": (lambda x: F.instance_norm(x).square(), "instance_norm"),
    "F.avg_pool2d": (lambda x: F.avg_pool2d(x, x.shape[2:]).expand(-1, -1, 2, 2), "avg_pool2d"),
    "x += y": (lambda x: operator_add(x, x.roll(1, 2)), "add"),
    "x.add_": (lambda x: (2 * x).add_(x.roll(1, 2)), "add"),
    "sum": (lambda x: sum([x, x.roll(1, 2)]), "add"),
}


def operator_add(x, y):
    x = 2 * x
    x += y
    return x


def masked(y):
    return y * (y > 0)


def chosen(y):
    return torch.where(y > 0, y, torch.zeros_like(y))


def clipped(y):
    return torch.where(y < 1, y, torch.ones(()))


def sloped(y):
    return torch.where(y > 0, y, 0.1 * y)


@torch.no_grad()
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling(spelling, written, images, converted):
    function, name = SPELLINGS[spelling]
    model = written(lambda self, x: function(self.conv(x).relu()).mean((2, 3)))
    snn = converted(model, images)
    assert torch.allclose(snn.analog(images), model(images), atol=1e-5)
    assert name in [node.meta.get("op") for node in snn.graph.nodes]
    assert (snn(images, 128) - model(images)).abs().max() < 0.1 * model(images).abs().max()


@torch.no_grad()
def test_arguments_by_name(written, images, converted):
    def forward(self, x):
        h = F.relu(input=self.conv(input=x))
        h = self.pool(input=self.conv2(input=h))
        return torch.sum(input=F.avg_pool2d(input=h, kernel_size=2), dim=(2, 3))

    model = written(forward, pool=torch.nn.MaxPool2d(2))
    snn = converted(model, images, "multi-level")
    assert torch.allclose(snn.analog(images), model(images), atol=1e-5)
    outputs = {}
    for backend in ("torch", "auto"):
        snn.backend = backend
        outputs[backend] = snn(images, 32)
    assert torch.allclose(outputs["torch"], outputs["auto"], atol=0.05)
    assert (outputs["auto"] - model(images)).abs().max() < 0.1 * model(images).abs().max()


@torch.no_grad()
@pytest.mark.parametrize("kind", [torch.int64, torch.bool])
def test_a_cast_to_whole_numbers_is_not_linear(kind, written, images, converted):
    model = written(lambda self, x: (3 * self.conv(x).relu()).to(kind).float().mean((2, 3)))
    with pytest.raises(ConversionError, match="'to' in module 'top'"):
        converted(model, images)
