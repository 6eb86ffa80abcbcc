"""What cannot be converted is refused at once, with the module's path and a way out."""

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert import KINDS, ConversionError, build


def refuse(model, x, *wanted):
    with pytest.raises(ConversionError) as caught:
        build(model, x, KINDS["signed"])
    for text in wanted:
        assert text in str(caught.value)


def inside(layer):
    """The layer at the path ``stage.block``."""
    outer, stage = nn.Sequential(), nn.Sequential()
    stage.add_module("block", layer)
    outer.add_module("stage", stage)
    return outer.eval()


def test_all_unsupported_operations_are_listed_with_their_modules(written, images):
    def forward(self, x):
        x = self.conv(x).relu()
        x = torch.igammac(x, x) + self.norm(x).mean((2, 3), True)
        return torch.trapezoid(x)

    refuse(
        inside(written(forward, norm=nn.FractionalMaxPool2d(2, 4))),
        images,
        "3 operation(s)",
        "'igammac' in module 'stage.block'",
        "'FractionalMaxPool2d' in module 'stage.block.norm'",
        "'trapezoid' in module 'stage.block'",
        "spikeport.register_op",
    )


def decide_on_data(self, x):
    x = self.conv(x).relu()
    return x if x.sum() > 0 else self.conv2(x)


def item(self, x):
    x = self.conv(x).relu()
    return x * x.max().item()


def delete_item(self, x):
    x = self.conv(x).relu()
    del x[:, 0]
    return x


@pytest.mark.parametrize("forward", [decide_on_data, item, delete_item])
def test_code_that_no_graph_can_hold_is_refused_with_its_module(forward, written, images):
    refuse(inside(written(forward)), images, "'stage.block'", "Convert a submodule")


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: (lambda y: y - y.mean(0))(self.conv(x).relu()),
        lambda self, x: (lambda y: y - 0.1 * y.mean(0))(self.conv(x).relu()),
        lambda self, x: (self.conv(x).relu() - 0.5 * x.mean()).sum((1, 2, 3)),
        lambda self, x: self.conv(x).relu().flip(0),
        lambda self, x: self.conv(x).relu().mean(),
        lambda self, x: self.conv(x).relu()[0],
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_operations_that_mix_the_images_of_a_batch_are_refused(forward, count, written, images):
    refuse(written(forward), images[:count], "the other images of the batch")


def test_sequence_first_values_are_refused(written, images):
    """The output is right image by image, but time would be folded into the sequence."""

    def tokens_first(self, x):
        x = self.conv(x).relu().flatten(2).permute(2, 0, 1)
        return self.fc(x).relu().mean(0)

    def tokens_first_in_one_dimension(self, x):
        x = self.conv(x).relu().flatten(2).permute(2, 0, 1)
        return self.fc(x.reshape(-1, 4)).relu().reshape(64, -1, 4).mean(0)

    for forward in (tokens_first, tokens_first_in_one_dimension):
        refuse(written(forward, fc=nn.Linear(4, 4)), images, "node 'relu", "first dimension")


class OfTheBatch(nn.Module):
    def __init__(self, *statistics):
        super().__init__()
        self.statistics = statistics

    def forward(self, x):
        return F.batch_norm(x, *self.statistics, training=True)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4, track_running_stats=False),
        OfTheBatch(None, None),
        OfTheBatch(torch.zeros(4), torch.ones(4)),
    ],
)
def test_batch_norms_without_running_statistics_are_refused(norm, written, images):
    model = written(lambda self, x: self.bn(self.conv(x)).relu(), bn=norm)
    refuse(inside(model), images, "'stage.block.bn'", "running statistics")


def test_a_model_in_training_mode_is_refused(written, images):
    refuse(
        written(lambda self, x: self.conv(x).relu()).train(), images, "'top'", "call model.eval()"
    )


def test_one_layer_in_training_mode_is_refused_and_named(written, images):
    model = written(lambda self, x: self.bn(self.conv(x)).relu(), bn=nn.BatchNorm2d(4))
    model.bn.train()
    refuse(model, images, "module 'bn'", "call model.eval()")
    assert torch.equal(model.bn.running_mean, torch.zeros(4))


@pytest.mark.parametrize("forward", [lambda self, x: self.conv(x), lambda self, x: x.flatten(1)])
def test_a_model_with_nothing_that_can_spike_is_refused(forward, written, images):
    refuse(written(forward), images, "no activation that can spike")


def test_an_output_that_is_no_tensor_is_refused(written, images):
    refuse(written(lambda self, x: (self.conv(x).relu(), x.shape[-1])), images, "returns a int")


def test_a_model_whose_output_is_not_finite_is_refused(written, images):
    refuse(written(lambda self, x: self.conv(x).relu() / 0), images, "not finite")


def test_an_operation_that_exists_in_place_only_is_refused(written, images):
    model = written(lambda self, x: self.conv(x).relu().cauchy_())
    refuse(model, images, "module 'top': 'cauchy_'", "in place only")


def test_division_that_rounds_is_refused(written, images):
    def forward(self, x):
        return torch.div(self.conv(x).relu(), 0.5, rounding_mode="floor")

    refuse(written(forward), images, "'div' in module 'top'")


@pytest.mark.parametrize("name", ["graph", "neurons", "backend", "evaluate", "info"])
def test_a_layer_with_the_name_of_an_attribute_is_refused(name, images):
    model = nn.Sequential()
    model.add_module(name, nn.Conv2d(3, 4, 3))
    model.add_module("act", nn.ReLU())
    refuse(model.eval(), images, f"'{name}'", "rename")
    snn = build(nn.Sequential(model).eval(), images, KINDS["if"])
    assert list(snn.neurons) == ["0.act"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x + 0 * torch.randn(x.size(0), 1, 1, 1), "'randn'.*draws random numbers"),
        (lambda x: x + 0 * torch.rand_like(x), "'rand_like'.*draws random numbers"),
        (lambda x: x + torch.randn(4, 1, 1), "another answer each time"),
        (lambda x: torch.nn.functional.dropout(x, 0.5, True), "another answer each time"),
        (lambda x: x[:, torch.randperm(4)] * torch.randn(1), "another answer each time"),
        (lambda x: x * random.random(), "another answer each time"),
    ],
)
def test_random_numbers_are_refused(function, message, written, images, converted):
    model = written(lambda self, x: self.conv2(function(self.conv(x).relu())))
    with pytest.raises(ConversionError, match=message):
        converted(model, images)
