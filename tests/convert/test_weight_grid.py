"""Weights that were quantised in training are known as integers, wherever the network goes."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from spikeport.convert import KINDS, build
from spikeport.convert.graph.weight_grid import weight_grid
from spikeport.convert.saving.container import load, save


@settings(deadline=None, max_examples=60)
@given(
    bits=st.integers(2, 8),
    channels=st.integers(1, 4),
    count=st.integers(1, 40),
    seed=st.integers(0, 2**20),
)
def test_integers_times_a_scale_are_found(bits, channels, count, seed):
    torch.manual_seed(seed)
    most = 2 ** (bits - 1)
    integers = torch.randint(-most, most, (channels, count))
    weight = integers * torch.rand(channels, 1).add(0.1)
    found = weight_grid(weight)
    assert found is not None
    assert torch.allclose(found.integers * found.scale, weight, rtol=1e-5, atol=1e-7)
    assert found.bits <= bits
    assert (found.integers.abs() <= integers.abs()).all()  # none is coarser


def test_other_weights_are_on_no_grid():
    torch.manual_seed(0)
    assert weight_grid(torch.randn(4, 27)) is None
    assert weight_grid(torch.zeros(4, 27)) is not None
    sixteen = torch.randint(-(2**15), 2**15, (4, 27)) * 0.1
    assert weight_grid(sixteen) is None


class Quantized(nn.Conv2d):
    """Weights of four bits, a scale for each channel or one for all."""

    def __init__(self, *args, by_channel, **options):
        super().__init__(*args, **options)
        self.dims = (1, 2, 3) if by_channel else (0, 1, 2, 3)

    def forward(self, x):
        scale = self.weight.abs().amax(self.dims, keepdim=True) / 7
        levels = self.weight / scale
        levels = levels + (levels.round() - levels).detach()
        return F.conv2d(x, levels * scale, self.bias, self.stride, self.padding)


@torch.no_grad()
@pytest.mark.parametrize("by_channel", [False, True])
def test_layers_keep_them_through_folding_copies_and_files(by_channel, randomise, images, tmp_path):
    layers = [Quantized(3, 4, 3, by_channel=by_channel), nn.BatchNorm2d(4), nn.ReLU()]
    layers += [Quantized(4, 5, 3, by_channel=by_channel), nn.ReLU(), nn.Conv2d(5, 2, 1)]
    model = randomise(nn.Sequential(*layers))
    snn = build(model, images, KINDS["signed"])
    save(snn, tmp_path / "net.snn")
    for network in (snn, copy.deepcopy(snn), load(tmp_path / "net.snn"), snn.double()):
        found = network.integer_weights
        assert list(found) == ["0.conv2d", "3.conv2d"] or list(found) == ["0", "3"]
        for name, grid in found.items():
            weight = network.get_submodule(name).weight
            assert grid.bits == 4
            assert torch.allclose(grid.integers * grid.scale, weight, rtol=1e-5, atol=1e-6)
