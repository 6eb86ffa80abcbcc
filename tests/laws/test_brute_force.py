"""The count by brute force on networks whose counts are known by hand."""

import brute_force
import pytest
import torch
from torch import nn

from spikeport.convert import Neuron, build


def counted(model, x, timesteps=1, levels=1):
    """Its count for thresholds of 1 and no initial potential."""
    snn = build(model.eval(), x, Neuron(levels, levels))
    for neuron in snn.neurons.values():
        neuron.threshold.data.fill_(1.0)
    return brute_force.count(snn, x, [timesteps])


def ones(layer, bias=0.0):
    """The layer with weights of 1."""
    nn.init.ones_(layer.weight)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


def identity():
    """A layer that hands a channel on."""
    return ones(nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize(
    ("behind", "accumulates"),
    [
        (nn.Conv2d(1, 5, 3, padding=1), 5 * 4),  # a corner meets 4 of 9 positions
        (nn.Conv2d(1, 5, 3, padding=1, padding_mode="replicate"), 5 * 9),
        (nn.Conv2d(1, 5, 1, stride=2), 5),
        (nn.ConvTranspose2d(1, 5, 3), 5 * 9),
        (nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 5, 1)), 5),
        (nn.Sequential(nn.AvgPool2d(2, 1, 1), nn.Conv2d(1, 5, 1)), 5 * 4),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 5, 1)), 5 * 4),
        (nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 7)), 7),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 7)), 7),
    ],
    ids=str,
)
def test_one_spike_in_the_corner(behind, accumulates):
    x = torch.zeros(2, 1, 4, 4)
    x[0, 0, 0, 0] = 1.0
    with torch.no_grad():
        found = counted(nn.Sequential(identity(), nn.ReLU(), behind), x)
    assert found.accumulates[1] == accumulates / 2  # per image, and one image has no spike
    assert sum(found.once.values()) == 16
    assert found.each == {}


class Twice(nn.Module):
    """One spike that reaches a layer on two ways, and a weight product."""

    def __init__(self):
        super().__init__()
        self.first, self.last = ones(nn.Linear(3, 3, bias=False)), nn.Linear(6, 5)
        self.first.weight.data = torch.eye(3)
        self.weight = nn.Parameter(torch.randn(5, 2))

    def forward(self, x):
        spikes = self.first(x).relu()
        return self.last(torch.cat([spikes + spikes, -spikes], 1))


def test_sums_and_copies_deliver_every_spike():
    x = torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]])
    found = counted(Twice(), x)
    assert found.accumulates[1] == (3 * 5 * (1 + 2)) / 2


def test_levels_count():
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    first = nn.Linear(2, 2, bias=False)
    first.weight.data = torch.eye(2)
    found = counted(nn.Sequential(first, nn.ReLU(), nn.Linear(2, 5)), x, 2, levels=4)
    assert found.accumulates[2] == 2 * (3 + 1) * 5 / 2


class Products(nn.Module):
    """Attention by hand, and an LSTM."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.lstm = (
            nn.Linear(4, 4),
            nn.Linear(4, 4),
            nn.LSTM(4, 3, batch_first=True),
        )

    def forward(self, x):
        x = x.relu()
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        return self.lstm(scores.softmax(-1) @ x)[0]


def test_products_and_recurrent_layers_multiply():
    x = torch.rand(2, 5, 4)
    found = counted(Products(), x)
    products = 5 * 5 * 4 * 2
    assert sum(found.each.values()) == products + 4 * 3 * (4 + 3) * 5
    assert found.multiplies(3) == sum(found.once.values()) + 3 * sum(found.each.values())


def test_too_large_is_said():
    x = torch.rand(1, 3, 40, 40)
    with pytest.raises(brute_force.TooLarge, match="positions"):
        counted(nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1)), x)
