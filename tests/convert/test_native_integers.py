"""Integer networks on the engine: in bytes, the same spikes as on torch."""

import pytest
import torch
from torch import nn

from spikeport.convert import KINDS, build
from spikeport.convert.simulation.native.layers import layers_of
from spikeport.cpu.loader import why_unavailable
from tests.convert.test_native import Everything, spikes_of

pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))


@torch.no_grad()
def in_integers(snn, bits, generator):
    """Random whole numbers everywhere; spikes are counts."""
    for module in snn.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.copy_(torch.randint(-127, 128, module.weight.shape, generator=generator))
            if module.bias is not None:
                module.bias.copy_(torch.randint(-300, 900, module.bias.shape, generator=generator))
    for neuron in snn.neurons.values():
        channels = neuron.threshold.shape
        neuron.threshold.copy_(torch.randint(500, 2000, channels, generator=generator))
        neuron.v0.copy_(torch.randint(0, 500, channels, generator=generator))
        neuron.unit.data = torch.rand(channels, generator=generator) / 1000 + 1e-4
        neuron.spike_value.data = torch.ones(channels)
        neuron.model = type(neuron.model)(**vars(neuron.model) | {"potential_bits": bits})
    return snn


@pytest.mark.parametrize("kind", ["if", "signed", "burst"])
@pytest.mark.parametrize("bits", [None, 16, 24, 32])
def test_whole_networks_fire_alike(kind, bits):
    generator = torch.Generator().manual_seed(3)
    snn = build(Everything().eval(), torch.randn(2, 3, 16, 16), KINDS[kind])
    in_integers(snn, bits, generator)
    x = torch.randint(-3, 4, (3, 3, 16, 16), generator=generator).float()
    expected, found = spikes_of(snn, x, "torch"), spikes_of(snn, x, "cpu")
    assert expected.keys() == found.keys()
    for name, spikes in expected.items():
        assert torch.equal(found[name], spikes), name
    built = [entry[1] for kept in layers_of(snn)._built.values() for entry in kept.values()]
    in_bytes = [layer.layer.in_bytes for layer in built]
    assert len(in_bytes) >= 7
    assert in_bytes.count(False) == 1  # the average pool leaves fractions
