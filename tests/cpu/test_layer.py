"""The neuron update bit for bit, packing, and what is refused."""

import pytest
import torch

from spikeport.convert.neurons import KINDS, SpikingNeuron
from spikeport.cpu.layer import Firing, Layer
from spikeport.cpu.loader import EngineError, paths, why_unavailable
from spikeport.cpu.streams import Levels, pack
from spikeport.cpu.synapses import Synapses

PATHS = [] if why_unavailable() else paths()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(0.0, float("inf")), (0.0, 6.0), (-1e30, 1e30)])
def test_update_is_exact_for_any_floats(kind, path, low, high):
    generator = torch.Generator().manual_seed(3)
    neuron = SpikingNeuron(KINDS[kind], 96, low, high)
    neuron.threshold.copy_(torch.rand(96, generator=generator) * 3 + 1e-3)
    neuron.v0.copy_(torch.rand(96, generator=generator))
    current = torch.randn(50, 2, 96, 3, 5, generator=generator)
    current[:, :, :8] = neuron.threshold[:8].view(-1, 1, 1) * torch.randint(-3, 4, (50, 2, 8, 3, 5))
    current[:, :, 8:12] = 0
    expected, state = neuron(current)
    bounds = neuron._total_bounds(neuron.threshold)
    firing = Firing(neuron.threshold, neuron.v0, neuron.max_up, neuron.max_down, *bounds)
    layout = current.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    out, after = Layer(96, firing).run(
        [], [layout.unflatten(0, (50, 2))], shape=(50, 2, 3, 5), path=path
    )
    assert torch.equal(out.unpack(neuron.threshold), expected)
    assert torch.equal(after.v[..., :96].permute(0, 3, 1, 2), state.v)
    assert (after.total is None) == (state.total is None)


def test_pack_is_the_inverse_of_unpack():
    n = torch.randint(-5, 6, (7, 2, 70, 3, 4)).float()
    value = torch.rand(70) + 0.5
    stream = pack(n * value.view(-1, 1, 1), value, Levels.of(5, 5))
    assert torch.equal(stream.unpack(value), n * value.view(-1, 1, 1))
    assert torch.equal(stream.unpack(torch.ones(70), 2, 5), n[2:5])
    assert torch.equal(stream.counts()[:, 0], n.abs().sum((1, 2, 3, 4)).long())


def test_wrong_arguments_are_refused():
    ones = torch.ones(8)
    layer = Layer(8, Firing(ones, ones), [Synapses(torch.ones(8, 8, 1, 1), ones)])
    spikes = pack(torch.ones(2, 1, 8, 3, 3), ones, Levels(1, False))
    with pytest.raises(EngineError, match="0 streams for 1 synapses"):
        layer.run([])
    with pytest.raises(EngineError, match="expected float32"):
        layer.run([spikes], [torch.ones(2, 1, 8, 3, 3)])
    with pytest.raises(EngineError, match="a stream of 4 channels for synapses from 8"):
        layer.run([pack(torch.ones(2, 1, 4, 3, 3), torch.ones(4), Levels(1, False))])
    with pytest.raises(EngineError, match="output shapes"):
        layer.run([spikes], shape=(2, 1, 4, 4))
    with pytest.raises(EngineError, match="instruction set"):
        layer.run([spikes], path="sse9")
    with pytest.raises(EngineError, match="threads is 0"):
        layer.run([spikes], threads=0)
    with pytest.raises(EngineError, match="1 to 255 spikes"):
        Levels.of(256, 0)
    with pytest.raises(EngineError, match="do not fit a kernel"):
        Synapses(torch.ones(8, 8, 3, 3), ones)
