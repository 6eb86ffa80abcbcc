"""Networks written in a line, and thresholds set by hand, for the tests of this folder."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeport.convert import KINDS, Neuron, SpikingNetwork, build
from spikeport.convert.neurons.model import CLASSES
from tests.same_start import same_start as same_start


class Written(nn.Module):
    """A network from its forward function: ``Written(lambda self, x: ..., conv=...)``.

    It brings a ``conv`` 3 -> 4 and a ``conv2`` 4 -> 4 that keep the size, unless they are given.
    """

    def __init__(self, function: Callable[[nn.Module, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = function
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


@torch.no_grad()
def calibrate(network: SpikingNetwork, x: Tensor) -> SpikingNetwork:
    """Thresholds that reach the largest analog value (6 for a ReLU6), v0 at half of them."""
    largest: dict[str, float] = {}
    network.analog(x, lambda name, current: largest.update({name: float(current.abs().max())}))
    for name, neuron in network.neurons.items():
        bounded = neuron.low > -math.inf and neuron.high < math.inf
        top = neuron.high if bounded else max(largest[name], 1e-3)
        neuron.threshold.fill_(top / neuron.max_up)
        neuron.v0.copy_(neuron.threshold / 2)
    return network


def converted(model: nn.Module, x: Tensor, neuron: str | Neuron = "signed") -> SpikingNetwork:
    """``build`` and ``calibrate`` in one call."""
    kind = KINDS[neuron] if isinstance(neuron, str) else neuron
    return calibrate(build(model, x, kind), x)


@torch.no_grad()
def randomise(model: nn.Module, x: Tensor | None = None) -> nn.Module:
    """Batch norms as after training; with fresh ones deep networks have constant outputs.

    Their statistics are those of the batch ``x``, if there is one.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.6, 1.4)
            module.bias.normal_(0, 0.2)
            module.momentum = 1.0
    if x is not None:
        model.train()(x)
    return model.eval()


def _given(function: Any) -> Any:
    @pytest.fixture(scope="session", name=function.__name__.lower())
    def give() -> Any:
        return function

    return give


written_fixture = _given(Written)
calibrate_fixture = _given(calibrate)
converted_fixture = _given(converted)
randomise_fixture = _given(randomise)


@pytest.fixture(autouse=True)
def _forget_neurons() -> Iterator[None]:
    """Neuron models that a test defines are forgotten with it."""
    before = dict(CLASSES)
    yield
    CLASSES.clear()
    CLASSES.update(before)


@pytest.fixture
def images() -> Tensor:
    """[3, 3, 8, 8]."""
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
