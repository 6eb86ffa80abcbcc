"""Random layers of whole numbers: in bytes, in floats and by the torch definition, bit for bit."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeport.convert.neurons import Neuron, NeuronLayer
from spikeport.cpu.byte_rows import ORDER, codes, rows_in_short
from spikeport.cpu.layer import Firing, Layer, LayerState
from spikeport.cpu.loader import EngineError, Unsuited, paths, why_unavailable
from spikeport.cpu.streams import Levels, pack
from spikeport.cpu.synapses import Geometry, Synapses
from tests.cpu.test_random_layers import Case, cases, firing_of

PATHS = [] if why_unavailable() else paths()
ODD = ({}, {}, {}, {"leak": 0.75}, {"hard_reset": True}, {"hard_reset": True, "leak": 0.3})
RANGES = ((0.0, math.inf), (0.0, 6.0), (-math.inf, math.inf), (-1.0, 2.0))


class WholeCase(Case):
    """A case whose layer is an integer one."""

    in_floats = False

    def layer(self) -> Layer:
        firing = replace(
            firing_of(self.neuron), potential_bits=self.neuron.native_rule.potential_bits
        )
        more = {"integer": True, "floats": self.in_floats}
        return Layer(self.channels, firing, self.synapses, self.bias, **more)


@st.composite
def whole_cases(draw: st.DrawFn) -> WholeCase:
    """A random layer with its numbers replaced by whole ones."""
    case = WholeCase(**vars(draw(cases())))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    largest = draw(st.sampled_from([1, 7, 127, 127]))
    case.synapses = [whole_synapses(part, largest, generator) for part in case.synapses]
    case.currents = [whole(current, 300, generator) for current in case.currents]
    case.bias = None if case.bias is None else whole(case.bias, 300, generator)
    case.neuron = whole_neuron(draw, case.neuron.model, case.channels, generator)
    return case


def whole(like: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Whole numbers in [-largest, largest] in memory of the same layout."""
    drawn = torch.randint(-largest, largest + 1, like.shape, generator=generator)
    return torch.empty_like(like).copy_(drawn)


def whole_synapses(part: Synapses, largest: int, generator: torch.Generator) -> Synapses:
    """Weights of bytes; now and then all of them the largest, so that 16 bits would overflow."""
    weight = whole(part.weight, largest, generator)
    if int(torch.randint(3, (), generator=generator)) == 0:  # times powers of two, by channel
        few = torch.randint(0, 5, (len(weight), 1, 1, 1), generator=generator)
        weight *= 2**few
    elif int(torch.randint(4, (), generator=generator)) == 0:
        weight = largest * torch.ones_like(weight)
    return replace(part, weight=weight, value=torch.ones_like(part.value))


def whole_neuron(
    draw: st.DrawFn, model: Neuron, channels: int, generator: torch.Generator
) -> NeuronLayer:
    odd = draw(st.sampled_from(ODD))
    bits = draw(st.sampled_from([None, 16, 24, 32]))
    if "leak" in odd and bits is None:
        bits = 24  # without a width a leak leaves fractions
    low, high = draw(st.sampled_from(RANGES))
    model = replace(model, **({"leak": 1.0, "hard_reset": False} | odd), potential_bits=bits)
    neuron = NeuronLayer(model, channels, low, high)
    most = draw(st.sampled_from([3, 400, 40_000]))
    neuron.threshold.copy_(torch.randint(1, most, (channels,), generator=generator))
    neuron.v0.copy_(torch.randint(-400, 400, (channels,), generator=generator))
    neuron.unit.data = torch.rand(channels, generator=generator) / 20 + 1e-3
    neuron.spike_value.data = torch.ones(channels)
    return neuron


def require_same(case: WholeCase) -> None:
    expected = case.expected()
    for path in PATHS:
        for case.in_floats in (False, True):
            if case.in_floats and case.neuron.native_rule.potential_bits == 32:
                continue
            found = case.found(path)
            assert case.layer().in_bytes != case.in_floats
            assert torch.equal(found, expected), (path, case.in_floats)


@settings(max_examples=60)
@given(whole_cases())
def test_spikes_of_integer_layers_are_those_of_the_definition(case):
    require_same(case)


@pytest.mark.slow
@settings(max_examples=1000, derandomize=False)
@given(whole_cases())
def test_spikes_of_integer_layers_are_those_of_the_definition_in_many_cases(case):
    require_same(case)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("split", [0, 128, 512])
@pytest.mark.parametrize(("up", "down"), [(1, 0), (1, 1), (31, 31), (255, 255)])
@pytest.mark.parametrize("groups", [1, 600])
def test_sums_that_need_more_than_16_bits(path, split, up, down, groups):
    """Thousands of the largest weights, all spikes of one sign: every sum is far beyond 2^15."""
    shape = (3, 1, 600, 5, 5) if groups == 1 else (3, 1, 600, 17, 17)
    size = 3 if groups == 1 else 17
    n = torch.full(shape, float(up)) * torch.tensor([1.0, -1.0 if down else 1.0, 0.0]).view(
        3, 1, 1, 1, 1
    )
    channels = 70 if groups == 1 else 600
    weight = torch.full((channels, 600 // groups, size, size), 127.0)
    part = Synapses(weight, torch.ones(600), groups=groups, geometry=Geometry((size, size)))
    neuron = NeuronLayer(Neuron(255, 255), channels)
    neuron.threshold.fill_(65_000.0)
    stream = pack(n, torch.ones(600), Levels.of(up, down))
    firing = Firing(neuron.threshold, torch.zeros(channels), 255, 255)
    layer = Layer(channels, firing, [part], integer=True)
    _, state = layer.run([stream], path=path, split=split)
    sums = weight.sum((1, 2, 3), dtype=torch.float64) * up
    counts = (sums / 65_000).floor().clamp(max=255)
    v = sums - counts * 65_000
    if down:
        v -= sums
        counts = (v / 65_000).floor().clamp(min=-255)
    else:
        v += sums
        counts = (v / 65_000).floor().clamp(max=255)
    v -= counts * 65_000
    v -= (v / 65_000).floor().clamp(-255, 255) * 65_000
    lanes = layer.blocks.spread(v.float()).double()
    real = layer.blocks.spread(torch.ones(channels)) > 0
    assert bool((state.v.double() == lanes)[..., real].all())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("leak", [1.0, 0.9])
def test_potentials_saturate_at_their_width(path, bits, leak):
    """Currents of one sign far beyond the width, with a threshold that is seldom reached."""
    generator = torch.Generator().manual_seed(6)
    model = Neuron(1, 1, leak=leak, potential_bits=bits)
    neuron = NeuronLayer(model, 96, -math.inf, math.inf)
    neuron.threshold.fill_(1000.0)
    neuron.v0.copy_(torch.randint(-99, 99, (96,), generator=generator))
    sign = torch.where(torch.rand(96, generator=generator) < 0.5, -1.0, 1.0).view(-1, 1, 1)
    current = torch.randint(0, 2**24, (300, 1, 96, 2, 3), generator=generator) * sign
    expected, after = neuron(current)
    layout = current.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    firing = replace(firing_of(neuron), potential_bits=bits)
    out, state = Layer(96, firing, integer=True).run(
        [], [layout.unflatten(0, (300, 1))], shape=(300, 1, 2, 3), path=path
    )
    assert torch.equal(out.unpack(neuron.threshold), expected)
    assert torch.equal(state.v.permute(0, 3, 1, 2).double(), after.v.double())
    most = 2.0 ** (bits - 1)
    assert float(after.v.min()) == -most + 1000 or leak != 1  # fired once more
    assert float(after.v.max()) == most - 1001 or leak != 1


def test_potentials_without_a_width_do_not_wrap():
    """Beyond 2^30 they stay there: floats would not hold them exactly either."""
    layer = Layer(16, Firing(torch.ones(16), torch.zeros(16)), integer=True)
    current = torch.full((1, 1, 16, 1, 1), -(2.0**24) + 1)
    state = None
    for _ in range(5):
        _, state = layer.run([], [current], state, shape=(64, 1, 1, 1))
    assert int(state.v.max()) == int(state.v.min()) == -(2**30)


def test_numbers_of_integer_layers_that_are_not_whole_are_refused():
    ones = torch.ones(8)
    for firing in (Firing(ones / 2, ones), Firing(ones, ones * 1.5), Firing(ones * 2**25, ones)):
        with pytest.raises(EngineError, match="not whole, or beyond"):
            Layer(8, firing, integer=True)
    layer = Layer(8, Firing(ones, ones), integer=True)
    for wrong in (0.5, math.nan, math.inf, 2.0**24):
        current = torch.zeros(1, 1, 8, 1, 1)
        current[0, 0, 3] = wrong
        for path in PATHS:
            with pytest.raises(EngineError, match="not whole, or beyond"):
                layer.run([], [current], shape=(2, 1, 1, 1), path=path)


@pytest.mark.parametrize("path", PATHS)
def test_currents_that_nothing_else_joins_are_rounded(path):
    """Ties to even, as torch rounds; with a second current after the sum."""
    generator = torch.Generator().manual_seed(8)
    neuron = NeuronLayer(Neuron(1, 1, potential_bits=24), 70, -math.inf, math.inf)
    neuron.threshold.fill_(40.0)
    fixed = torch.randint(-99, 99, (1, 2, 3, 4, 70), generator=generator) / 2
    fixed = fixed.permute(0, 1, 4, 2, 3)
    more = (
        torch.randint(-9, 9, (6, 2, 3, 4, 70), generator=generator).float().permute(0, 1, 4, 2, 3)
    )
    layer = Layer(70, replace(firing_of(neuron), potential_bits=24), integer=True)
    for currents in ([fixed], [fixed, more], [more]):
        expected, after = neuron(sum(currents).expand(6, -1, -1, -1, -1))
        out, state = layer.run([], currents, shape=(6, 2, 3, 4), path=path)
        assert torch.equal(out.unpack(neuron.threshold), expected)


def test_weights_that_are_no_bytes_run_in_floats():
    ones = torch.ones(8)
    for weight, integer in ((129.0, True), (0.5, True), (1.0, False)):
        part = Synapses(torch.full((8, 8, 1, 1), weight), ones)
        assert not Layer(8, Firing(ones, ones), [part], integer=integer).in_bytes
    leaks = Firing(ones, ones, leak=0.5)
    assert not Layer(8, leaks, integer=True).in_bytes
    part = Synapses(torch.full((8, 8, 1, 1), 127.0 * 64), ones)  # of 8 bits and 6 noughts
    assert Layer(8, Firing(ones, ones), [part], integer=True).in_bytes
    with pytest.raises(Unsuited, match="24 bits"):
        Layer(8, Firing(ones, ones, potential_bits=32)).run(
            [], [torch.ones(1, 1, 8, 1, 1)], shape=(1, 1, 1, 1)
        )


def test_weights_from_channel_to_channel_have_16_bits():
    """A shortcut's weight is often larger than any other: it is in the unit of those."""
    ones = torch.ones(8)
    part = Synapses(torch.full((8, 1, 1, 1), 9001.0), ones, groups=8)
    layer = Layer(8, Firing(ones * 10_000, ones * 0, 3), [part], integer=True)
    assert layer.in_bytes
    for path in PATHS:
        for up, v in ((1, 9001), (3, 7003)):
            stream = pack(up * torch.ones(1, 1, 8, 1, 1), ones, Levels.of(up, 0))
            _, state = layer.run([stream], path=path)
            assert state.v[..., :8].tolist() == [[[[v] * 8]]]
    stream = pack(4 * torch.ones(1, 1, 8, 1, 1), ones, Levels.of(4, 0))
    with pytest.raises(Unsuited, match="exceeds 16 bits"):
        layer.run([stream])


def test_states_of_floats_and_of_integers_are_not_mixed_up():
    ones = torch.ones(16)
    layer = Layer(16, Firing(ones, ones), integer=True)
    state = LayerState(torch.zeros(1, 1, 1, 16), None)
    with pytest.raises(EngineError, match="another shape or type"):
        layer.run([], [torch.ones(1, 1, 16, 1, 1)], state, shape=(1, 1, 1, 1))


@pytest.mark.parametrize(("magnitudes", "most"), [(1, 1), (2, 3), (5, 31), (6, 32), (8, 128)])
def test_no_sum_of_16_bits_overflows(magnitudes, most):
    part = Synapses(torch.full((4, 4, 1, 1), -127.0), torch.ones(4))
    rows = rows_in_short(codes(part), False, Levels(magnitudes, True))
    assert rows % 2 == 0
    assert rows * 127 * most < 2**15 <= (rows + 2) * 127 * most
    masked = Synapses(torch.full((4, 1, 3, 3), -127.0), torch.ones(4), Geometry((3, 3)), groups=4)
    taps = rows_in_short(codes(masked), True, Levels(magnitudes, True))
    assert taps * 127 * (2**magnitudes - 1) < 2**15
    assert taps >= 1


def test_the_order_of_a_row_is_a_permutation():
    assert sorted(ORDER.tolist()) == list(range(64))
