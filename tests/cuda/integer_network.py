"""A network of whole numbers, made by hand: what ``backend="cuda"`` and torch have to agree on."""

from dataclasses import replace

import torch
from torch import nn

from spikeport.convert import KINDS, build
from spikeport.convert.neurons import NeuronModel


class Block(nn.Module):
    """A residual block, with a ReLU after the addition."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return (x + self.conv2(self.conv1(x).relu())).relu()


def integer_network(kind, bits):
    """A network with weights of 8 bits, and whole numbers as its input, [3, 3, 8, 8].

    Args:
        kind: a name in KINDS, or a neuron model with a potential of any kind.
        bits: of the potential.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), Block(8), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, 1, 1, groups=4), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(64, 40), nn.ReLU()),
        *(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 5)),
    ).eval()
    x = torch.randint(-127, 128, (3, 3, 8, 8)).float()
    snn = build(model, x, KINDS[kind] if isinstance(kind, str) else kind)
    for parameter in (p for layer in _weighted(snn) for p in layer.parameters()):
        parameter.data = torch.randint_like(parameter, -127, 128)
    for neuron in snn.neurons.values():
        _make_whole(neuron, bits)
    return snn, x


def emitted(snn, x, backend, chunk=None, timesteps=12):
    """What every layer emits over time, by name."""
    snn.backend, parts = backend, {}
    list(snn.chunks(x, timesteps, chunk, lambda n, v, _: parts.setdefault(n, []).append(v)))
    return {name: torch.cat(values) for name, values in parts.items()}


def _weighted(snn):
    return [m for m in snn.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def _make_whole(neuron, bits):
    model: NeuronModel = neuron.model
    neuron.model = replace(model, potential_bits=bits)
    shape = neuron.threshold.shape
    neuron.threshold.data = torch.randint(200, 400, shape).float()
    neuron.v0.data = torch.randint(0, 200, shape).float()
    neuron.correction.data = torch.randint(-50, 50, (2, *shape)).float()
    neuron.unit.data = torch.rand(shape) / 100 + 1e-3
    neuron.spike_value.data = torch.ones(shape)
