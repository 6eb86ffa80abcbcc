"""Random layers against the torch definition, on a dyadic grid where sums are exact."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from spikeport.convert.neurons import KINDS, Neuron, NeuronLayer
from spikeport.cpu.layer import Firing, Layer
from spikeport.cpu.loader import paths, why_unavailable
from spikeport.cpu.streams import Levels, Stream, pack
from spikeport.cpu.synapses import Geometry, Synapses

NATIVE = [kind for kind in KINDS.values() if isinstance(kind, Neuron)]
PATHS = [] if why_unavailable() else paths()
GRID = 1 / 16
CHANNELS = st.sampled_from([1, 3, 8, 16, 17, 40, 63, 64, 65, 96, 130])
SMALL = st.sampled_from([1, 2, 3])


@dataclass
class Case:
    """One layer, its inputs, and how to run it."""

    neuron: NeuronLayer
    channels: int
    synapses: list[Synapses] = field(default_factory=list)
    spikes: list[Tensor] = field(default_factory=list)  # n, [T, B, C, H, W]
    levels: list[Levels] = field(default_factory=list)
    bias: Tensor | None = None
    currents: list[Tensor] = field(default_factory=list)
    shape: tuple[int, int, int, int] = (1, 1, 1, 1)
    cuts: tuple[int, ...] = ()
    threads: int = 1
    tile: int = 16
    split: int = 0

    def expected(self) -> Tensor:
        """Spike counts by the torch definition, [T, B, C, H, W]."""
        timesteps, batch, height, width = self.shape
        current = torch.zeros(timesteps, batch, self.channels, height, width)
        for part, n in zip(self.synapses, self.spikes, strict=True):
            where = part.geometry
            value = part.value.view(-1, 1, 1)
            out = F.conv2d(
                (n * value).flatten(0, 1),
                part.weight,
                None,
                where.stride,
                where.padding,
                where.dilation,
                part.groups,
            )
            current += out.unflatten(0, (timesteps, batch))
        for extra in self.currents:
            current += extra
        if self.bias is not None:
            current += self.bias.view(-1, 1, 1)
        emitted, _ = self.neuron(current)
        return emitted / self.neuron.value.view(-1, 1, 1)

    def layer(self) -> Layer:
        """The layer for the engine."""
        return Layer(self.channels, firing_of(self.neuron), self.synapses, self.bias)

    def found(self, path: str) -> Tensor:
        """Spike counts by the engine, chunk by chunk."""
        layer, state, parts = self.layer(), None, []
        timesteps = self.shape[0]
        for low, high in zip((0, *self.cuts), (*self.cuts, timesteps), strict=True):
            streams = [
                pack(n[low:high], torch.ones(n.shape[2]), levels)
                for n, levels in zip(self.spikes, self.levels, strict=True)
            ]
            currents = [c[low:high] if len(c) > 1 else c for c in self.currents]
            out, state = layer.run(
                streams,
                currents,
                state,
                (high - low, *self.shape[1:]),
                threads=self.threads,
                path=path,
                tile=self.tile,
                split=self.split,
            )
            assert padding_bits(out) == 0
            parts.append(out.unpack(torch.ones(self.channels)))
        return torch.cat(parts)


def padding_bits(stream: Stream) -> int:
    """Set bits past the last channel."""
    rest = stream.channels % 64
    if not rest:
        return 0
    mask = ~((1 << rest) - 1) & (2**64 - 1)
    return int((stream.bits[..., -1] & (mask - 2**64)).count_nonzero())


def firing_of(neuron: NeuronLayer) -> Firing:
    """The engine's description of a neuron layer."""
    lowest, highest = neuron._total_bounds(neuron.threshold)
    model = neuron.model
    return Firing(
        neuron.threshold,
        neuron.v0,
        model.max_up,
        model.max_down,
        lowest,
        highest,
        model.leak,
        model.hard_reset,
    )


def dyadic(generator: torch.Generator, shape: tuple[int, ...], largest: float) -> Tensor:
    """Whole multiples of GRID, uniform in [-largest, largest]."""
    steps = int(largest / GRID)
    return torch.randint(-steps, steps + 1, shape, generator=generator) * GRID


def random_spikes(
    generator: torch.Generator, shape: tuple[int, ...], density: float, model: Neuron
) -> Tensor:
    """n in [-max_down, max_up], non-zero with this probability."""
    n = torch.randint(-model.max_down, model.max_up + 1, shape, generator=generator).float()
    return n * (torch.rand(shape, generator=generator) < density)


@st.composite
def cases(draw: st.DrawFn, kernels: st.SearchStrategy[int] = SMALL) -> Case:
    """A random layer with zero to two synapses and every kind of extra current."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    timesteps, batch = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    depthwise = draw(st.booleans())
    groups = 1 if depthwise else draw(st.sampled_from([1, 1, 1, 2, 4]))
    channels = draw(CHANNELS) if groups == 1 else groups * draw(st.sampled_from([1, 5, 16, 70]))
    case = Case(draw_neuron(draw, channels, generator), channels)
    for _ in range(draw(st.integers(0, 2))):
        add_synapses(draw, case, generator, (timesteps, batch, height, width), groups, depthwise)
        if len(case.spikes) == 1:
            height, width = case.shape[2:]
        groups, depthwise = 1, draw(st.booleans())
    case.shape = (timesteps, batch, height, width)
    wide = (batch, channels, height, width)
    for repeat in draw(st.lists(st.sampled_from([1, timesteps]), max_size=2)):
        current = dyadic(generator, (repeat, *wide), 2.0)
        case.currents.append(current.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        case.currents[-1] = case.currents[-1].unflatten(0, (repeat, batch))
    if draw(st.booleans()):
        case.bias = dyadic(generator, (channels,), 1.0)
    case.cuts = tuple(
        sorted(draw(st.sets(st.integers(1, timesteps - 1), max_size=3))) if timesteps > 1 else ()
    )
    case.threads, case.tile = draw(st.integers(1, 5)), draw(st.sampled_from([1, 3, 16]))
    case.split = draw(st.sampled_from([0, 0, 64, 128]))
    return case


def draw_neuron(draw: st.DrawFn, channels: int, generator: torch.Generator) -> NeuronLayer:
    """Any kind, with thresholds on the grid."""
    model = draw(st.sampled_from([*NATIVE, Neuron(3, 7), Neuron(1, 1)]))
    odd = draw(st.sampled_from([{}, {}, {}, {"leak": 0.5}, {"hard_reset": True}]))
    low, high = draw(st.sampled_from([(0.0, math.inf), (0.0, 6.0), (-math.inf, math.inf), (-1, 2)]))
    neuron = NeuronLayer(replace(model, **odd), channels, low, high)
    steps = torch.randint(2, 40, (channels,), generator=generator)
    if draw(st.booleans()):  # powers of two: quotients that are whole numbers
        steps = 2 ** torch.randint(1, 6, (channels,), generator=generator)
    neuron.threshold.copy_(steps * GRID)
    neuron.v0.copy_(torch.randint(-8, 30, (channels,), generator=generator) * GRID)
    return neuron


def add_synapses(
    draw: st.DrawFn,
    case: Case,
    generator: torch.Generator,
    shape: tuple[int, int, int, int],
    groups: int,
    depthwise: bool,
) -> None:
    """Append synapses from a new stream; the first may change the size, the second keeps it."""
    timesteps, batch, height, width = shape
    first = not case.synapses
    kernel = (draw(SMALL), draw(SMALL))
    stride = (draw(SMALL), draw(SMALL)) if first else (1, 1)
    dilation = (draw(SMALL), draw(SMALL))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    if not first:
        kernel, padding = (3, 3), dilation
    inner = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    height, width = max(height, inner[0]), max(width, inner[1])
    where = Geometry(kernel, stride, padding, dilation)
    if depthwise:
        groups = case.channels
        weight = dyadic(generator, (case.channels, 1, *kernel), 0.5)
    else:
        per_group = draw(CHANNELS) if groups == 1 else draw(st.sampled_from([1, 7, 64, 80]))
        weight = dyadic(generator, (case.channels, per_group, *kernel), 0.5)
    in_channels = weight.shape[1] * groups
    value = torch.randint(1, 9, (in_channels,), generator=generator) * GRID
    model = draw(st.sampled_from([*NATIVE, Neuron(40, 40)]))
    density = draw(st.sampled_from([0.0, 0.03, 0.3, 1.0]))
    wide = (timesteps, batch, in_channels, height, width)
    case.spikes.append(random_spikes(generator, wide, density, model))
    case.levels.append(Levels.of(model.max_up, model.max_down))
    case.synapses.append(Synapses(weight, value, where, groups))
    case.shape = (timesteps, batch, *where.output_size(height, width))


def require_same(case: Case) -> None:
    expected = case.expected()
    for path in PATHS:
        assert torch.equal(case.found(path), expected), path


@settings(max_examples=40)
@given(cases())
def test_spikes_are_those_of_the_definition(case):
    require_same(case)


@pytest.mark.slow
@settings(max_examples=700, derandomize=False)
@given(cases())
def test_spikes_are_those_of_the_definition_in_many_cases(case):
    require_same(case)
