"""Weights of a fine-tuned source network in a network that was converted before."""

import copy

import pytest
import torch
from torch import nn

from spikeport.convert import ConversionError
from spikeport.convert.reloading import load_source
from spikeport.convert.saving.container import load, save


@pytest.fixture
def model(written, randomise):
    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        return self.fc(self.bn2(x + self.conv2(x)).relu().mean((2, 3)))

    layers = {"bn": nn.BatchNorm2d(4), "bn2": nn.BatchNorm2d(4), "act": nn.PReLU()}
    return randomise(written(forward, fc=nn.Linear(4, 5), **layers))


@torch.no_grad()
def test_it_computes_what_the_fine_tuned_network_does(
    model, images, converted, randomise, tmp_path
):
    snn = converted(model, images)
    thresholds = [neuron.threshold.clone() for neuron in snn.neurons.values()]
    tuned = copy.deepcopy(model)
    for parameter in tuned.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    tuned = randomise(tuned)
    save(snn, tmp_path / "net.snn")
    for network in (snn, load(tmp_path / "net.snn")):
        assert not torch.allclose(network.analog(images), tuned(images), atol=0.01)
        load_source(network, tuned)
        assert torch.allclose(network.analog(images), tuned(images), atol=1e-5)
        kept = [neuron.threshold for neuron in network.neurons.values()]
        assert all(map(torch.equal, kept, thresholds))
        assert not any(parameter.requires_grad for parameter in snn.parameters())


def test_another_structure_is_refused_and_nothing_changed(model, images, converted):
    snn = converted(model, images)
    before = copy.deepcopy(snn.state_dict())
    for name, layer in (("fc", nn.Linear(4, 6)), ("act", nn.Identity()), ("bn2", nn.Identity())):
        other = copy.deepcopy(model)
        setattr(other, name, layer.eval())
        with pytest.raises(ConversionError, match="another structure"):
            load_source(snn, other)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
