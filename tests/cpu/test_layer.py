"""The neuron update bit for bit, packing, and what is refused."""

import pytest
import torch
from torch.nn import functional as F

from spikeport.convert.neurons import KINDS, Neuron, NeuronLayer
from spikeport.cpu.layer import Firing, Layer
from spikeport.cpu.loader import EngineError, paths, why_unavailable
from spikeport.cpu.streams import Levels, pack
from spikeport.cpu.synapses import Geometry, Synapses

NATIVE = {name: kind for name, kind in KINDS.items() if isinstance(kind, Neuron)}
PATHS = [] if why_unavailable() else paths()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", NATIVE)
@pytest.mark.parametrize(("low", "high"), [(0.0, float("inf")), (0.0, 6.0), (-1e30, 1e30)])
def test_update_is_exact_for_any_floats(kind, path, low, high):
    generator = torch.Generator().manual_seed(3)
    neuron = NeuronLayer(NATIVE[kind], 96, low, high)
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


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("channels", [64, 70])
def test_a_constant_current_without_the_potentials_kept(path, channels):
    generator = torch.Generator().manual_seed(4)
    neuron = NeuronLayer(Neuron(1, 0), channels)
    neuron.threshold.copy_(torch.rand(channels, generator=generator) + 0.5)
    neuron.v0.fill_(0.5)
    current = torch.randn(1, 2, channels, 3, 5, generator=generator)
    expected, _ = neuron(current.expand(20, -1, -1, -1, -1))
    layer = Layer(channels, Firing(neuron.threshold, neuron.v0))
    layout = current[0].contiguous(memory_format=torch.channels_last)[None]
    out, state = layer.run([], [layout], shape=(20, 2, 3, 5), path=path, keep=False)
    assert torch.equal(out.unpack(neuron.threshold), expected)
    with pytest.raises(EngineError, match="the state is none"):
        layer.run([], [layout], state, shape=(20, 2, 3, 5), path=path)


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


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("split", [0, 64])
@pytest.mark.parametrize(("up", "down"), [(1, 0), (4, 4), (31, 31), (100, 100)])
@pytest.mark.parametrize("groups", [1, 2])
def test_weights_shared_by_a_window_and_any_number_of_levels(path, split, up, down, groups):
    """Synapses behind an average pool equal those with the weights repeated, and the definition."""
    n = torch.randint(-down, up + 1, (6, 2, 80, 6, 9)) * (torch.rand(6, 2, 80, 6, 9) < 0.3)
    weight = torch.randint(-8, 9, (70, 80 // groups, 1, 1)) / 16
    ones, where = torch.ones(80), Geometry((3, 2), (3, 2))
    neuron = NeuronLayer(Neuron(3, 3), 70)
    neuron.threshold.fill_(2.0)
    neuron.v0.fill_(1.0)
    full = weight.expand(-1, -1, 3, 2).contiguous()
    current = F.conv2d(n.float().flatten(0, 1), full, None, (3, 2), 0, 1, groups)
    expected, _ = neuron(current.unflatten(0, (6, 2)))
    stream = pack(n.float(), ones, Levels.of(up, down))
    firing = Firing(neuron.threshold, neuron.v0, 3, 3, *neuron._total_bounds(neuron.threshold))
    for part in (
        Synapses(weight, ones, where, groups, shared=True),
        Synapses(full, ones, where, groups),
    ):
        out, _ = Layer(70, firing, [part]).run([stream], path=path, split=split)
        assert torch.equal(out.unpack(neuron.threshold), expected)


def test_lists_that_do_not_fit_are_made_in_parts():
    """More spikes than the engine's lists hold for one tile of positions."""
    generator = torch.Generator().manual_seed(5)
    n = (torch.rand(8, 16, 9000, 1, 1, generator=generator) < 0.9).float()
    weight = torch.randint(-8, 9, (5, 9000, 1, 1), generator=generator) / 16
    ones, five = torch.ones(9000), torch.ones(5)
    layer = Layer(5, Firing(five * 20, five), [Synapses(weight, ones)])
    neuron = NeuronLayer(Neuron(1, 0), 5)
    neuron.threshold.fill_(20.0)
    neuron.v0.fill_(1.0)
    current = F.conv2d(n.flatten(0, 1), weight).unflatten(0, (8, 16))
    out, _ = layer.run([pack(n, ones, Levels(1, False))], split=512)
    assert torch.equal(out.unpack(five * 20), neuron(current)[0])
