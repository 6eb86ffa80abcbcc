"""LeakyReLU and PReLU: a signed neuron, whose spikes become smaller where the sum is negative."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert.saving.container import load, save
from spikeport.report.operations.synapses import count_synapses

SLOPED = {
    "LeakyReLU": nn.LeakyReLU(0.25, inplace=True),
    "PReLU": nn.PReLU(4, 0.5),
    "one slope": nn.PReLU(),
}


@torch.no_grad()
@pytest.mark.parametrize("name", SLOPED)
def test_the_emitted_sum_is_the_function_of_the_summed_spikes(name, written, images, converted):
    """Exactly, also where spikes of both signs came: there is no rest that stays."""
    model = written(lambda self, x: self.act(self.conv(x)), act=copy.deepcopy(SLOPED[name]))
    x = images.double()
    snn = converted(model.double(), x, "signed")
    assert list(snn.neurons) == ["act#in"]
    neuron = snn.neurons["act#in"]
    emitted = torch.cat(list(snn.chunks(x, 40)))
    summed = []
    neuron.register_forward_hook(lambda module, args, out: summed.append(out[0]))
    snn(x, 40, chunk=40)
    expected = model.act(summed[0].sum(0).clone())
    assert torch.allclose(emitted.sum(0), expected, atol=1e-9)
    assert (snn(x, 400) - model(x)).abs().max() < 0.02 * model(x).abs().max()


@torch.no_grad()
def test_the_next_layer_receives_spikes(written, images, converted, tmp_path):
    def forward(self, x):
        x = F.max_pool2d(self.act(self.conv(x)), 2)
        return self.conv2(F.leaky_relu(self.conv2(x), 0.1)).mean((2, 3))

    model = written(forward, act=nn.PReLU(4))
    snn = converted(model, images, "signed")
    assert snn.analog_layers() == []
    assert list(snn.neurons) == ["act#in", "leaky_relu"]
    assert "act.weight" in snn.state_dict()
    synapses = count_synapses(snn, tuple(images.shape[1:]))
    assert synapses.fanout["leaky_relu"]
    assert synapses.macs_per_timestep == {}
    save(snn, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn")(images, 8), snn(images, 8))
