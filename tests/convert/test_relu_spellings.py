"""However an activation is written, a neuron takes its place and carries the module's name."""

import math

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn import functional as F

from spikeport.convert import ConversionError

INF = math.inf
RELU, RELU6, SIGNED = (0.0, INF), (0.0, 6.0), (-1.0, 1.0)

# spelling: (a forward's activation, its range, the neuron's name)
FUNCTIONS = {
    "F.relu": (lambda x: F.relu(x), RELU, "relu"),
    "F.relu in place": (lambda x: F.relu(x, inplace=True), RELU, "relu"),
    "F.relu in place by position": (lambda x: F.relu(x, True), RELU, "relu"),
    "F.relu by keyword": (lambda x: F.relu(input=x, inplace=True), RELU, "relu"),
    "F.relu_": (lambda x: F.relu_(x), RELU, "relu"),
    "torch.relu": (lambda x: torch.relu(x), RELU, "relu"),
    "torch.relu_": (lambda x: torch.relu_(x), RELU, "relu"),
    "x.relu": (lambda x: x.relu(), RELU, "relu"),
    "x.relu_": (lambda x: x.relu_(), RELU, "relu"),
    "F.relu6": (lambda x: F.relu6(x), RELU6, "relu6"),
    "F.relu6 in place": (lambda x: F.relu6(x, inplace=True), RELU6, "relu6"),
    "F.hardtanh": (lambda x: F.hardtanh(x), SIGNED, "hardtanh"),
    "F.hardtanh 0 6": (lambda x: F.hardtanh(x, 0.0, 6.0), RELU6, "hardtanh"),
    "F.hardtanh_": (lambda x: F.hardtanh_(x, 0, 6), RELU6, "hardtanh"),
    "F.hardtanh by keyword": (lambda x: F.hardtanh(x, min_val=-2, max_val=3), (-2, 3), "hardtanh"),
    "x.clamp min": (lambda x: x.clamp(min=0), RELU, "clamp"),
    "torch.clamp": (lambda x: torch.clamp(x, 0), RELU, "clamp"),
    "torch.clamp none": (lambda x: torch.clamp(x, 0, None), RELU, "clamp"),
    "x.clamp_": (lambda x: x.clamp_(0, 6), RELU6, "clamp"),
    "x.clamp max min": (lambda x: x.clamp(max=6, min=0), RELU6, "clamp"),
    "x.clip": (lambda x: x.clip(0, 6), RELU6, "clamp"),
    "x.clamp_min": (lambda x: x.clamp_min(0), RELU, "clamp_min"),
    "torch.clamp_min_": (lambda x: torch.clamp_min_(x, 0), RELU, "clamp_min"),
    "x.clamp_max": (lambda x: x.clamp_max(1.5), (-INF, 1.5), "clamp_max"),
}
CLIP = (-0.5, 1.0)


def _set_below_zero(x):
    x = x + 0.0
    x[x < 0] = 0.0
    return x


BY_HAND = {
    "x * (x > 0)": (lambda x: x * (x > 0), RELU, "relu"),
    "(x >= 0) * x": (lambda x: (x >= 0).to(x.dtype) * x, RELU, "relu"),
    "x.gt(0).type_as": (lambda x: x * x.gt(0).type_as(x), RELU, "relu"),
    "where": (lambda x: torch.where(x > 0, x, 0.0), RELU, "relu"),
    "where not": (lambda x: torch.where(~(x < 0), x, torch.zeros_like(x)), RELU, "relu"),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0.0), RELU, "relu"),
    "masked_fill_": (lambda x: x.clone().masked_fill_(torch.logical_not(x > 0), 0.0), RELU, "relu"),
    "set item": (_set_below_zero, RELU, "relu"),
    "torch.max": (lambda x: torch.max(x, torch.zeros_like(x)), RELU, "relu"),
    "x.max": (lambda x: x.max(torch.tensor(0.0)), RELU, "relu"),
    "torch.max by keyword": (lambda x: torch.max(input=x, other=torch.zeros(1)), RELU, "relu"),
    "torch.maximum": (lambda x: torch.maximum(torch.zeros(4, 1, 1), x), RELU, "relu"),
    "minimum of relu": (lambda x: torch.minimum(F.relu(x), torch.full_like(x, 6)), RELU6, "clamp"),
    "clip by where": (
        lambda x: torch.where(x < -0.5, torch.full_like(x, -0.5), torch.where(x > 1, 1.0, x)),
        CLIP,
        "clamp",
    ),
    "clip by min and max": (
        lambda x: torch.min(torch.max(x, torch.tensor(-0.5)), torch.tensor(1.0)), CLIP, "clamp"
    ),
}  # fmt: skip
MODULES = {
    "ReLU": (lambda: nn.ReLU(), RELU),
    "ReLU in place": (lambda: nn.ReLU(inplace=True), RELU),
    "ReLU6": (lambda: nn.ReLU6(), RELU6),
    "Hardtanh 0 6": (lambda: nn.Hardtanh(0, 6), RELU6),
    "Hardtanh": (lambda: nn.Hardtanh(-1, 1), SIGNED),
}


def check(model, images, converted, expected):
    """The neurons are exactly the expected ones, and stand for what the model computes."""
    snn = converted(model, 5 * images)
    assert {name: (n.low, n.high) for name, n in snn.neurons.items()} == expected
    assert all(n.max_down == n.max_up for n in snn.neurons.values() if n.low < 0)
    assert torch.allclose(snn.analog(5 * images), model(5 * images), atol=1e-5)
    error = (snn(5 * images, 64) - model(5 * images)).abs().max()
    assert error < 0.1 * model(5 * images).abs().max()


@torch.no_grad()
@pytest.mark.parametrize("spelling", FUNCTIONS | BY_HAND)
def test_function(spelling, written, images, converted):
    function, span, name = (FUNCTIONS | BY_HAND)[spelling]
    model = written(lambda self, x: self.conv2(function(self.conv(x))))
    # the second convolution reads spikes: no other neuron
    check(model, images, converted, {name: span})


@torch.no_grad()
@pytest.mark.parametrize(
    "almost",
    [
        lambda x: torch.where(x > 0.2, x, torch.zeros_like(x)),
        lambda x: x.masked_fill(x < 0, 0.3),
        lambda x: torch.where(x > 0.2, torch.where(x > 0, x, 0.0), 0.2),
        lambda x: torch.clamp_min(torch.minimum(x, torch.tensor(-0.5)), 0.5),
        lambda x: torch.minimum(torch.clamp_min(x, 0.5), torch.tensor(-0.5)),
        lambda x: torch.max(x, x.roll(1, 1)) + x.max(1, keepdim=True)[0],
    ],
)
def test_what_looks_like_a_clip_is_refused_or_computed(almost, written, images, converted):
    model = written(lambda self, x: self.conv2(almost(self.conv2(F.relu(self.conv(x))))))
    try:
        snn = converted(model, images)
    except ConversionError:
        return
    assert torch.allclose(snn.analog(3 * images), model(3 * images), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("spelling", MODULES)
def test_module(spelling, written, images, converted):
    make, span = MODULES[spelling]
    inner = written(lambda self, x: self.conv2(self.act(self.conv(x))), act=make())
    check(nn.Sequential(inner).eval(), images, converted, {"0.act": span})


@torch.no_grad()
def test_one_module_called_many_times_becomes_as_many_neurons(written, images, converted):
    def forward(self, x):
        x = self.relu(self.conv(x))
        return self.relu(self.conv2(self.relu(self.conv2(x))))

    inner = written(forward, relu=nn.ReLU(inplace=True))
    outer = nn.Sequential()
    outer.add_module("layer", inner)
    names = ["layer.relu", "layer.relu#1", "layer.relu#2"]
    check(outer.eval(), images, converted, dict.fromkeys(names, RELU))


@torch.no_grad()
def test_functions_and_a_module_of_the_same_name_stay_apart(written, images, converted):
    def forward(self, x):
        x = self.relu(self.conv2(F.relu(self.conv(x))))
        return self.fc(self.relu(self.conv2(self.relu(self.conv2(x)))).mean((2, 3))).relu()

    model = written(forward, relu=nn.ReLU(), fc=nn.Linear(4, 5))
    snn = converted(model, images)
    assert sorted(snn.neurons) == ["relu", "relu#1", "relu#2", "relu#3", "relu#4"]
    assert [n.threshold.numel() for n in snn.neurons.values()] == [4, 4, 4, 4, 5]
    assert len(set(map(id, snn.neurons.values()))) == 5


@torch.no_grad()
def test_neurons_are_listed_in_the_order_in_which_they_fire(written, images, converted):
    model = written(
        lambda self, x: self.first(self.conv2(self.second(self.conv(x)))),
        first=nn.ReLU(),
        second=nn.ReLU(),
    )
    assert list(converted(model, images).neurons) == ["second", "first"]


@torch.no_grad()
def test_batch_norm_with_its_activation_inside(written, images, converted, randomise):
    model = written(lambda self, x: self.conv2(self.bn(self.conv(x))), bn=BatchNormAct2d(4))
    check(randomise(model), images, converted, {"bn.act": RELU})


@torch.no_grad()
@pytest.mark.parametrize(
    "relu", [lambda x: F.relu(x, inplace=True), lambda x: x.relu_(), lambda x: x.clamp_(0)]
)
def test_what_is_read_after_an_in_place_activation_is_activated(relu, written, images, converted):
    def forward(self, x):
        before = self.conv(x)
        after = relu(before)
        return before + 2 * after  # 3 · relu, not x + 2 · relu

    model = written(forward)
    snn = converted(model, images)
    assert torch.allclose(snn.analog(images), 3 * model.conv(images).relu(), atol=1e-5)
    assert torch.allclose(snn(images, 64), 3 * model.conv(images).relu(), atol=0.1)


@torch.no_grad()
def test_what_was_read_before_an_in_place_activation_is_not(written, images, converted):
    def forward(self, x):
        before = self.conv(x)
        doubled = 2 * before
        return doubled + before.relu_()

    model = written(forward)
    found = converted(model, images).analog(images)
    assert torch.allclose(found, model(images), atol=1e-5)
    assert found.min() < -0.1


@torch.no_grad()
def test_sums_in_place(written, images, converted):
    def forward(self, x):
        x = self.conv(x).relu()
        shortcut = x
        x = self.conv2(x)
        x += shortcut
        shortcut *= 2
        return x.relu_().add_(shortcut)

    check(written(forward), images, converted, {"relu": RELU, "relu#1": RELU})


@torch.no_grad()
def test_a_clamp_whose_range_lacks_zero_is_no_neuron(written, images, converted):
    model = written(lambda self, x: self.conv(x).relu().clamp(0.1, 0.4))
    snn = converted(model, images)
    assert list(snn.neurons) == ["relu"]
    assert (snn(images, 64) - model(images)).abs().max() < 0.05
