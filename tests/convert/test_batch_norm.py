"""Batch norms disappear into the layer before, or become a gain and an offset per channel."""

import pytest
import torch
from timm.layers import BatchNormAct2d, StdConv2d
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from spikeport.convert import KINDS, build
from spikeport.convert.graph.channel_affine import ChannelAffine


def check(model, x, converted, randomise, affine=0):
    """The same numbers, no batch norm left, and as many ChannelAffine as expected."""
    randomise(model)
    snn = converted(model, x)
    kinds = [type(module) for module in snn.modules()]
    assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)
    assert not any(node.meta.get("op") == "batch_norm" for node in snn.graph.nodes)
    assert kinds.count(ChannelAffine) == affine
    with torch.no_grad():
        expected = model(x)
        assert torch.allclose(snn.analog(x), expected, atol=1e-4, rtol=1e-4)
        assert (snn(x, 128) - expected).abs().max() < 0.1 * expected.abs().max()


FOLDED = {
    "conv1d": (nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), (3, 3, 8)),
    "conv2d": (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), (3, 3, 8, 8)),
    "conv2d without bias": (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), (3, 3, 8, 8)),
    "depthwise": (nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), (3, 3, 8, 8)),
    "conv3d": (nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), (3, 3, 5, 5, 5)),
    "transposed": (nn.ConvTranspose2d(3, 4, 2, 2), nn.BatchNorm2d(4), (3, 3, 5, 5)),
    "linear": (nn.Linear(8, 4), nn.BatchNorm1d(4), (3, 8)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_into_the_layer_before(name, converted, randomise):
    layer, norm, shape = FOLDED[name]
    check(nn.Sequential(layer, norm, nn.ReLU()), torch.randn(shape), converted, randomise)


def test_in_pre_activation_networks_it_stands_alone(written, images, converted, randomise):
    def forward(self, x):
        x = self.conv(x)
        return x + self.conv2(self.bn(x).relu())

    check(written(forward, bn=nn.BatchNorm2d(4)), images, converted, randomise, affine=1)


def test_after_a_concatenation(written, images, converted, randomise):
    def forward(self, x):
        x = self.conv(x).relu()
        return self.bn(torch.cat([x, self.conv2(x)], 1)).relu()

    check(written(forward, bn=nn.BatchNorm2d(8)), images, converted, randomise, affine=1)


def test_before_the_first_layer(written, images, converted, randomise):
    model = written(lambda self, x: self.conv(self.bn(x)).relu(), bn=nn.BatchNorm2d(3))
    check(model, images, converted, randomise, affine=1)


def test_after_a_layer_that_is_called_twice(written, images, converted, randomise):
    def forward(self, x):
        x = self.conv(x).relu()
        return self.conv2(self.bn(self.conv2(x)).relu())

    check(written(forward, bn=nn.BatchNorm2d(4)), images, converted, randomise, affine=1)


def test_one_batch_norm_called_twice(written, images, converted, randomise):
    def forward(self, x):
        x = self.bn(self.conv(x).relu())  # an affine
        return self.bn(self.conv2(x.relu())).relu()  # folded

    check(written(forward, bn=nn.BatchNorm2d(4)), images, converted, randomise, affine=1)


def test_on_tokens_it_is_not_folded_into_the_linear_layer(written, images, converted, randomise):
    """BatchNorm1d of [B, N, C] normalises N."""

    def forward(self, x):
        return self.bn(self.fc(self.conv(x).relu().flatten(2))).relu()

    model = written(forward, fc=nn.Linear(64, 5), bn=nn.BatchNorm1d(4))
    check(model, images, converted, randomise, affine=1)


def test_as_a_function(written, images, converted, randomise):
    def forward(self, x):
        bn = self.bn
        x = F.batch_norm(
            self.conv(x), bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.1, bn.eps
        )
        x = self.conv2(x.relu())
        return F.batch_norm(x, bn.running_mean, bn.running_var).relu()

    check(written(forward, bn=nn.BatchNorm2d(4, eps=0.1)), images, converted, randomise)


@pytest.mark.parametrize("norm", [lambda: BatchNormAct2d(4), lambda: FrozenBatchNorm2d(4)])
def test_of_other_libraries(norm, written, images, converted, randomise):
    model = written(lambda self, x: self.conv2(self.norm(self.conv(x)).relu()), norm=norm())
    if isinstance(model.norm, FrozenBatchNorm2d):
        model.norm.running_mean.normal_()
        model.norm.weight.uniform_(0.5, 2)
    check(model, images, converted, randomise)


def test_standardised_weights_are_computed_once(written, images, converted, randomise):
    model = written(
        lambda self, x: self.bn(self.std(self.conv(x).relu())).relu(),
        std=StdConv2d(4, 4, 3),
        bn=nn.BatchNorm2d(4),
    )
    check(model, images, converted, randomise)
    snn = converted(model, images)
    assert type(snn.std) is nn.Conv2d
    ops = [node.meta.get("op") for node in snn.graph.nodes if node.op == "call_function"]
    assert ops == []


def test_functional_layers_become_modules(written, images, converted, randomise):
    def forward(self, x):
        x = F.conv2d(x, self.conv.weight, self.conv.bias, 1, 1).relu()
        x = F.conv2d(input=x, weight=self.conv2.weight, padding=1).relu()
        return F.linear(x.mean((2, 3)), self.fc.weight, bias=self.fc.bias)

    model = written(forward, fc=nn.Linear(4, 5))
    check(model, images, converted, randomise)
    snn = converted(model, images)
    assert [n.op for n in snn.graph.nodes if n.meta["role"] == "weighted"] == ["call_module"] * 2
    assert sorted(type(m).__name__ for m in snn.modules() if hasattr(m, "weight")) == [
        "Conv2d",
        "Conv2d",
        "Linear",
    ]


def test_rounding_of_the_source_model_is_no_mistake_of_the_trace():
    """Float32 loses three digits of this model and none of its folded form."""
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    model[0].bias.data.fill_(1e4)
    model[1].running_mean.fill_(1e4)
    model[1].running_var.fill_(1e-2)
    x = torch.randn(4, 8)
    snn = build(model, x, KINDS["signed"])
    assert (snn.analog(x) - model(x)).abs().max() > 1e-3 * model(x).abs().max()
    exact = model.double()(x.double())
    torch.testing.assert_close(snn.analog(x).double(), exact, rtol=1e-5, atol=1e-5)


def test_rounding_of_the_folded_weights_is_no_mistake_of_the_trace():
    """And float32 loses three digits of this model's folded form."""
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 3), nn.ReLU()).eval()
    model[0].weight.data.mul_(300)
    model[1].bias.data.fill_(1e8)
    model[2].bias.data -= 1e8 * model[2].weight.data.sum(1)
    x = torch.randn(4, 8)
    snn = build(model, x, KINDS["signed"])
    exact = model.double()(x.double())
    assert (snn.double().analog(x.double()) - exact).abs().max() > 1e-3 * exact.abs().max()
