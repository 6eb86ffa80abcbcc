"""Inputs, weights, outputs and code as they come."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from spikeport.convert import ConversionError
from spikeport.convert.saving.container import load, save

Pair = namedtuple("Pair", "main side")


def conv(dims, channels):
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return kind(channels, 4, 3, padding=1)


def pooled(dims):
    return (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1](1)


@torch.no_grad()
def check(model, x, converted):
    snn = converted(model, x)
    for batch in (x[:1], x.repeat(2, *[1] * (x.ndim - 1))):
        expected = model(batch)
        assert torch.allclose(snn.analog(batch), expected, atol=1e-5)
        assert (snn(batch, 128) - expected).abs().max() < 0.05 * expected.abs().max()
    return snn


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_dimensions_and_grayscale(dims, channels, converted, randomise):
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dims - 1]
    layers = [conv(dims, channels), norm(4), nn.ReLU(), pool(2), conv(dims, 4), nn.ReLU()]
    model = nn.Sequential(*layers, pooled(dims), nn.Flatten(), nn.Linear(4, 3))
    check(randomise(model), torch.randn(2, channels, *[6] * dims), converted)


def test_an_mlp_on_feature_vectors(converted, randomise):
    layers = [nn.Linear(9, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 8)]
    model = nn.Sequential(*layers, nn.LeakyReLU(), nn.Linear(8, 3))
    snn = check(randomise(model), torch.randn(4, 9), converted)
    assert list(snn.neurons) == ["2", "5#in"]


@torch.no_grad()
def test_channels_last(written, images, converted):
    model = written(lambda self, x: self.conv2(self.conv(x).relu()).relu().mean((2, 3)))
    model = model.to(memory_format=torch.channels_last)
    x = images.to(memory_format=torch.channels_last)
    snn = check(model, x, converted)
    assert torch.allclose(snn(x, 8), snn(images, 8), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precisions(dtype, written, images, converted):
    model = written(lambda self, x: self.conv2(self.conv(x).relu()).relu().mean((2, 3)))
    model, x = model.to(dtype), images.to(dtype)
    snn = converted(model, x)
    assert {p.dtype for p in snn.parameters()} == {dtype}
    assert snn(x, 32).dtype == dtype
    assert (snn(x, 32) - model(x)).abs().max() < 0.1 * model(x).abs().max()


@torch.no_grad()
def test_buffers_tied_weights_and_weight_norm(written, images, converted):
    def forward(self, x):
        x = self.same(self.conv2(self.conv(x).relu() - self.mean).relu())
        return F.conv2d(x, self.normed.weight.transpose(0, 1), padding=1).mean((2, 3)) * self.scale

    normed = parametrizations.weight_norm(nn.Conv2d(4, 4, 3))
    model = written(forward, normed=normed)
    model.same = nn.Conv2d(4, 4, 3, padding=1).eval()
    model.same.weight = model.conv2.weight  # tied
    model.register_buffer("mean", torch.randn(4, 1, 1))
    model.register_buffer("scale", torch.tensor(2.0), persistent=False)
    check(model, images, converted)


@torch.no_grad()
@pytest.mark.parametrize("kind", [tuple, list, dict, OrderedDict, Pair])
def test_outputs_keep_their_structure(kind, written, images, converted):
    def forward(self, x):
        x = self.conv(x).relu()
        side = self.conv2(x)
        if kind in (dict, OrderedDict):
            return kind(out=x.mean((2, 3)), aux=side)
        return kind(x.mean((2, 3)), side) if kind is Pair else kind([x.mean((2, 3)), side])

    model = written(forward)
    snn = converted(model, images)
    for found in (snn.analog(images), snn(images, 64), snn.anytime(images, 2)):
        assert type(found) is kind
        if kind in (dict, OrderedDict):
            assert list(found) == ["out", "aux"]
        if kind is Pair:
            assert found.main is found[0]


@torch.no_grad()
def test_values_written_into_a_tensor(written, images, converted):
    def forward(self, x):
        x = self.conv(x).relu()
        x[:, 0] = 0.5
        x[:, 1:2, ::2] += self.conv2(x)[:, :1, ::2]
        grid = torch.zeros(x.shape[-1], 2)
        grid[:, 1] = torch.arange(x.shape[-1])
        return self.conv2(x) @ grid

    check(written(forward), images, converted)


@torch.no_grad()
def test_parts_that_are_overwritten(written, images, converted, tmp_path):
    def forward(self, x):
        bias = self.fc.bias.clone()
        bias[1:4].zero_()
        x = self.conv(x).relu()
        x[:, 0].fill_(0.5)
        x[:, 1][:, ::2].mul_(2).add_(0.1)
        x[:, [2]].zero_()  # a list of indices makes a copy
        x[:, 3].copy_(self.conv2(x)[:, 3])
        return F.linear(self.conv2(x).relu().mean((2, 3)), self.fc.weight, bias)

    model = written(forward, fc=nn.Linear(4, 5))
    snn = check(model, images, converted)
    save(snn, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn").analog(images), snn.analog(images))


def test_a_tensor_written_under_another_name(written, images, converted):
    def forward(self, x):
        x = self.conv(x).relu()
        view = x.flatten(1)
        view[:, :9] = 0
        return self.conv2(x)

    check(written(forward), images, converted)


def halved(x, times):
    while times > 0:
        x, times = x / 2, times - 1
    return x


torch.fx.wrap("halved")


def test_functions_that_fx_would_not_look_into(written, images, converted):
    model = written(lambda self, x: self.conv2(halved(self.conv(x).relu(), 3)))
    check(model, images, converted)


def test_a_constant_of_another_values_type(written, images, converted):
    """It takes nothing but the type from what changes in time."""
    model = written(lambda self, x: self.conv(x).relu() * self.scale.exp().type_as(self.conv(x)))
    model.scale = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    check(model, images, converted)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_over_a_sequence(kind, written, images, converted):
    """The sequence is complete at every timestep: its time is not that of the spikes."""

    def forward(self, x):
        x, _ = self.cells(self.conv(x).relu().flatten(2).transpose(1, 2))
        return self.fc(x).mean(1)

    cells = kind(4, 3, batch_first=True, bidirectional=True)
    model = written(forward, cells=cells, fc=nn.Linear(6, 5))
    snn = check(model, images, converted)
    assert snn.analog_layers() == []
    assert type(model.cells) is kind


def test_the_values_of_a_maximum_with_its_indices(written, images, converted):
    model = written(lambda self, x: self.conv2(self.conv(x).relu()).flatten(2).max(-1)[0])
    check(model, images, converted)


def test_what_is_chosen_by_a_fixed_mask_or_index(written, images, converted):
    def forward(self, x):
        x = self.conv(x).relu()
        x = torch.where(self.mask, x, self.conv2(x)).masked_fill(self.mask, 0.5)
        return self.conv2(x).index_select(3, self.places)

    model = written(forward)
    model.register_buffer("mask", torch.rand(8, 8) > 0.5)
    model.register_buffer("places", torch.tensor([1, 5]))
    check(model, images, converted)


def test_a_mask_made_of_spikes_is_refused(written, images, converted):
    model = written(lambda self, x: (lambda y: torch.where(y > 1, y, 0 * y))(self.conv(x).relu()))
    with pytest.raises(ConversionError, match="'where' in module"):
        converted(model, images)
