"""The share of multiply-accumulates that become accumulates."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert import KINDS, build
from spikeport.report import count_synapses


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.qkv = nn.Linear(6, 18)

    def forward(self, x):
        x = self.second(self.first(x).relu()).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)


def test_counts():
    network = build(Small().eval(), torch.randn(2, 3, 4, 4), KINDS["signed"])
    share = count_synapses(network, (3, 4, 4))
    assert share.once == (4 * 4 * 9 - 4 * 4 * 3 + 4) * 3 * 4  # no taps outside the image
    assert share.accumulates == 16 * (4 * 6 + 6 * 18)
    assert share.macs_per_timestep == {"scaled_dot_product_attention": 2 * 16 * 16 * 6}
    assert share.spike_driven == pytest.approx(2112 / (2112 + 3072))


def test_layers_on_the_constant_input_are_computed_once():
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)
    )
    network = build(model.eval(), torch.randn(2, 3), KINDS["signed"], analog_bottlenecks=True)
    share = count_synapses(network, (3,))
    assert (share.once, share.accumulates, share.macs_per_timestep) == (32, 10, {})


def test_an_analog_bottleneck_multiplies():
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Linear(5, 2)]
    network = build(
        nn.Sequential(*layers).eval(), torch.randn(2, 3), KINDS["signed"], analog_bottlenecks=True
    )
    share = count_synapses(network, (3,))
    assert share.macs_per_timestep == {"3": 10}
    assert share.spike_driven == pytest.approx(20 / 30)
