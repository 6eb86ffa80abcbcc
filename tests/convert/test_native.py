"""The native engine against the torch backend, on whole networks."""

import pytest
import torch
from torch import nn

from spikeport.convert import KINDS, ConversionError, build
from spikeport.convert.simulation.native.buffers import Buffers
from spikeport.convert.simulation.native.layers import KEPT, layers_of
from spikeport.convert.simulation.native.plan import Current, Plan
from spikeport.cpu.loader import why_unavailable
from spikeport.cpu.streams import Levels
from tests.convert.grid import on_grid, rounded

pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))


class Everything(nn.Module):
    """Each way in which spikes reach a neuron, and two that torch has to compute."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, 2, 1, groups=8)
        self.shortcut = nn.Conv2d(8, 16, 1, 2)
        self.grouped = nn.Conv2d(8, 16, 3, padding=2, dilation=2, groups=2)
        self.merge = nn.Conv2d(24, 16, 1)
        self.average = nn.AvgPool2d(2)
        self.after = nn.Conv2d(16, 16, 1)
        self.hidden = nn.Linear(64, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x):
        x = self.pool(self.stem(x).relu())
        x = (self.conv(x) + x).relu()
        y = self.depthwise(x).relu()
        z = (self.grouped(y) + self.shortcut(x)).relu()
        z = self.merge(torch.cat([y, z], 1)).relu()
        z = (self.after(z + z) + z).relu()
        z = self.after(self.average(z)).relu()
        return self.head(self.hidden(z.flatten(1)).relu())


@torch.no_grad()
def random_on_grid(snn):
    """Random weights of which every sum is exact."""
    for name, parameter in snn.named_parameters():
        if not name.endswith((".threshold", ".v0")):
            parameter.normal_(0, 0.2)
    return on_grid(snn)


def spikes_of(snn, x, backend, timesteps=11, chunk=4):
    """What every neuron and the output emit, by name."""
    snn.backend = backend
    found = {}

    def keep(name, emitted, first):
        found.setdefault(name, []).append(emitted)

    outputs = torch.cat(list(snn.chunks(x, timesteps, chunk, keep)))
    return {name: torch.cat(parts) for name, parts in found.items()} | {"output": outputs}


@torch.no_grad()
@pytest.mark.parametrize("kind", [kind for kind, model in KINDS.items() if model.native_rule])
def test_every_neuron_spikes_as_with_torch(kind):
    x = rounded(torch.randn(2, 3, 16, 16))
    snn = random_on_grid(build(Everything().eval(), x, KINDS[kind]))
    expected, found = spikes_of(snn, x, "torch"), spikes_of(snn, x, "cpu")
    assert list(found) == list(expected)
    for name in expected:
        assert torch.equal(found[name], expected[name]) or (
            name == "output" and torch.allclose(found[name], expected[name], atol=1e-5)
        ), name
    assert all(bool(values.any()) for values in found.values())
    whole = spikes_of(snn, x, "cpu", chunk=None)
    assert torch.allclose(whole["output"], found["output"], atol=1e-5)


def loose_parts(snn):
    """Operations whose outputs are currents that torch computes at every timestep."""
    return [
        part.node.meta["op"]
        for parts in Plan(snn).parts.values()
        for part in parts
        if isinstance(part, Current) and not part.static
    ]


def test_plan_leaves_nothing_to_torch():
    snn = build(Everything().eval(), torch.randn(2, 3, 16, 16), KINDS["if"])
    plan = Plan(snn)
    assert plan.packed >= {node for node in snn.graph.nodes if node.meta["role"] == "neuron"}
    assert loose_parts(snn) == []


def squeeze(self, x):
    x = self.conv(x).relu()
    return self.last(self.conv2(self.pool(x)).relu().flatten(1))


def merged(self, x):
    x = self.conv(x).relu()
    x = torch.cat([self.pool(self.conv2(x).relu()), self.pool(x)], 1)
    return self.last(self.wide(x).relu().flatten(1))


def dense(self, x):
    x = self.pool(self.conv(x).relu()).flatten(1)
    return self.last(self.hidden(x).relu())


POOLS = {
    "plain": (squeeze, nn.AvgPool2d(2), 4, True),
    "cut": (squeeze, nn.AvgPool2d(3), 2, True),
    "grouped": (squeeze, nn.AvgPool2d(2), 4, True),
    "depthwise": (squeeze, nn.AvgPool2d(2), 4, True),
    "adaptive": (squeeze, nn.AdaptiveAvgPool2d((2, None)), 2, True),
    "whole": (squeeze, nn.AdaptiveAvgPool2d(1), 1, True),
    "merged": (merged, nn.AvgPool2d(4), 2, True),
    "linear": (dense, nn.AdaptiveAvgPool2d(1), 1, True),
    "linear, 4 positions": (dense, nn.AdaptiveAvgPool2d(2), 2, True),
    "linear, cut": (dense, nn.AvgPool2d(3), 2, True),
    "overlapping": (squeeze, nn.AvgPool2d(3, 1, 1), 8, False),
    "padded": (squeeze, nn.AvgPool2d(2, 2, 1), 5, False),
    "uneven": (squeeze, nn.AdaptiveAvgPool2d(3), 3, False),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", ["if", "multi-level"])
@pytest.mark.parametrize("name", POOLS)
def test_average_pools_before_weights(name, kind, written, images):
    function, pool, side, native = POOLS[name]
    width = 8 if name == "adaptive" else side
    groups = {"grouped": 2, "depthwise": 4}.get(name, 1)
    model = written(
        function,
        pool=pool,
        conv2=nn.Conv2d(4, 4, 3 if name == "merged" else 1, padding=int(name == "merged"))
        if groups == 1
        else nn.Conv2d(4, 4, 1, groups=groups),
        wide=nn.Conv2d(8, 4, 1),
        hidden=nn.Linear(4 * side * width, 6),
        last=nn.Linear(6 if function is dense else 4 * side * width, 5),
    )
    x = rounded(images)
    snn = random_on_grid(build(model, x, KINDS[kind]))
    snn.conv.weight.mul_(4)
    assert bool(loose_parts(snn)) != native
    expected, found = spikes_of(snn, x, "torch"), spikes_of(snn, x, "cpu")
    differing = sum(int((found[k] != expected[k]).sum()) for k in snn.neurons)
    exact = name not in ("cut", "uneven", "overlapping", "linear, cut")  # 1/9 is not on the grid
    assert differing <= (0 if exact else 0.01 * sum(expected[k].numel() for k in snn.neurons))
    assert torch.allclose(found["output"], expected["output"], atol=1e-4) or not exact
    assert all(bool(values.any()) for values in found.values())


@torch.no_grad()
def test_pools_that_do_not_fit_a_call_are_left_to_torch(written, images):
    layers = {"conv2": nn.Conv2d(4, 4, 1), "last": nn.Linear(16, 5)}
    model = written(squeeze, pool=nn.AdaptiveAvgPool2d(2), **layers)
    snn = random_on_grid(build(model, images, KINDS["if"]))
    assert loose_parts(snn) == []
    x = torch.randn(2, 3, 9, 12)
    expected, found = spikes_of(snn, x, "torch"), spikes_of(snn, x, "cpu")
    assert found["output"].shape == expected["output"].shape
    differing = sum(int((found[k] != expected[k]).sum()) for k in snn.neurons)
    assert differing <= 0.01 * sum(expected[k].numel() for k in snn.neurons)


@torch.no_grad()
def test_dense_layers_give_the_same_spikes(monkeypatch):
    x = rounded(torch.randn(2, 3, 16, 16))
    snn = random_on_grid(build(Everything().eval(), x, KINDS["signed"]))
    expected = spikes_of(snn, x, "torch")
    monkeypatch.setattr(
        "spikeport.convert.simulation.native.run.dense_above", lambda layer, levels: 0.0
    )
    monkeypatch.setattr(
        "spikeport.convert.simulation.native.run.SLICE_BYTES", 3 * 4 * 2 * 8 * 8 * 8
    )
    found = spikes_of(snn, x, "cpu", chunk=5)
    assert all(torch.equal(found[name], expected[name]) for name in snn.neurons)


@torch.no_grad()
def test_changed_parameters_are_seen(written, images, converted):
    snn = converted(written(lambda self, x: self.conv2(self.conv(x).relu()).relu()), images)
    snn.backend = "cpu"
    before = snn(images, 8)
    snn.conv2.weight.data.mul_(-1.0)
    changed = snn(images, 8)
    snn.backend = "torch"
    assert not torch.equal(before, changed)
    assert torch.allclose(snn(images, 8), changed, atol=1e-5)


def swap_two(values):
    """Another tensor of the same sum, in the same memory, without a word to torch."""
    flat = values.detach().numpy().reshape(-1)
    flat[[0, -1]] = flat[[-1, 0]]


CHANGES = {
    "weight": lambda snn: swap_two(snn.conv2.weight),
    "bias": lambda snn: swap_two(snn.conv2.bias),
    "threshold of the sender": lambda snn: swap_two(snn.neurons["relu"].threshold),
    "threshold": lambda snn: swap_two(snn.neurons["relu#1"].threshold),
    "v0": lambda snn: swap_two(snn.neurons["relu#1"].v0),
    "data": lambda snn: setattr(snn.conv2.weight, "data", snn.conv2.weight.data.flip(0)),
    "range": lambda snn: setattr(snn.neurons["relu#1"], "high", 0.25),
    "stride": lambda snn: setattr(snn.conv2, "stride", (2, 2)),
    "model": lambda snn: setattr(snn.neurons["relu#1"], "model", KINDS["burst"]),
}


@torch.no_grad()
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change, written, images):
    x = rounded(images)
    model = written(lambda self, x: self.conv2(self.conv(x).relu()).relu().mean((2, 3)))
    snn = random_on_grid(build(model, x, KINDS["multi-level"]))
    for neuron in snn.neurons.values():
        neuron.threshold.copy_(torch.tensor([0.125, 0.25, 0.5, 1.0]))
        neuron.v0.copy_(torch.tensor([0.0, 0.125, 0.25, 0.5]))
    snn.backend = "cpu"
    before = snn(x, 8)
    CHANGES[change](snn)
    found = snn(x, 8)
    snn.backend = "torch"
    assert not torch.equal(before, found)
    torch.testing.assert_close(found, snn(x, 8))


@torch.no_grad()
def test_sizes_that_do_not_come_again_are_forgotten(written, images):
    layers = {"conv2": nn.Conv2d(4, 4, 1), "last": nn.Linear(4, 5)}
    model = written(squeeze, pool=nn.AdaptiveAvgPool2d(1), **layers)
    snn = random_on_grid(build(model, images, KINDS["if"]))
    snn.backend = "cpu"
    for size in range(8, 20):
        snn(torch.randn(1, 3, size, 9), 2)
    kept = layers_of(snn)._built
    assert max(map(len, kept.values())) <= KEPT
    # what does not depend on the size is arranged once
    assert min(map(len, kept.values())) == 1


def test_calls_that_the_engine_cannot_run(written, images, converted):
    snn = converted(written(lambda self, x: self.conv2(self.conv(x).relu()).relu()), images)
    snn.backend = "cpu"
    with pytest.raises(ConversionError, match="needs gradients"):
        snn(images.clone().requires_grad_(), 2)
    with pytest.raises(ConversionError, match="not float32"):
        snn.double()(images.double(), 2)
    snn.backend = "auto"
    assert snn(images.double(), 2).dtype == torch.float64
    handle = snn.float().conv2.register_forward_hook(lambda *_: None)
    snn.backend = "cpu"
    with pytest.raises(ConversionError, match="hooks"):
        snn(images, 2)
    handle.remove()
    assert snn(images, 2).isfinite().all()


def test_memory_of_forgotten_streams_is_used_again():
    levels, buffers = Levels.of(1, 0), Buffers(reuse=True)
    large, small = (buffers.take((1, size, size), 8, 64, levels) for size in (6, 4))
    for stream in (large, small):
        buffers.give_back(stream)
    again = buffers.take((1, 4, 4), 4, 64, levels)
    assert again.bits.data_ptr() == small.bits.data_ptr()
    assert again.bits.shape == (1, 4, 4, 4, 1, 1)
    other = Buffers(reuse=False)
    other.give_back(large)
    assert other.take((1, 6, 6), 8, 64, levels).bits.data_ptr() != large.bits.data_ptr()


class Checked(nn.Module):
    """Asks for the shape of a value behind an operation that the engine leaves to torch."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(4, 8, 1)
        self.slope = nn.LeakyReLU(0.1)

    def forward(self, x):
        left, right = self.slope(self.first(x)).split(4, 1)
        right = self.second(right)
        if right.ndim != 4:
            raise ValueError(right.shape)
        return torch.cat([left, self.slope(right)], 1).mean((2, 3))


def test_a_decision_behind_what_torch_computes():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    snn = build(Checked().eval(), x, KINDS["signed"])
    for neuron in snn.neurons.values():
        neuron.threshold.fill_(0.5)
        neuron.v0.fill_(0.25)
    outputs = {}
    for snn.backend in ("torch", "cpu"):
        outputs[snn.backend] = snn(x, timesteps=40, chunk=16)
    torch.testing.assert_close(outputs["cpu"], outputs["torch"], atol=0.05, rtol=0)


class Sequences(nn.Module):
    """Everything that the engine knows of sequences [B, C, L]."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = nn.Conv1d(3, 8, 3, padding=1), nn.MaxPool1d(3, 2, 1)
        self.conv = nn.Conv1d(8, 8, 3, padding=2, dilation=2)
        self.depthwise = nn.Conv1d(8, 8, 3, 2, 1, groups=8)
        self.shortcut, self.merge = nn.Conv1d(8, 16, 1, 2), nn.Conv1d(24, 16, 1)
        self.grouped = nn.Conv1d(8, 16, 3, padding=1, groups=2)
        self.hidden, self.head = nn.Linear(64, 20), nn.Linear(20, 5)

    def forward(self, x):
        x = self.pool(self.stem(x).relu())
        x = (self.conv(x) + x).relu()
        y = self.depthwise(x).relu()
        z = (self.grouped(y) + self.shortcut(x)).relu()
        z = self.merge(torch.cat([y, z], 1)).relu()
        return self.head(self.hidden(z.flatten(1)).relu())


@torch.no_grad()
@pytest.mark.parametrize("kind", ["if", "multi-level"])
def test_sequences_run_on_packed_spikes(kind):
    x = rounded(torch.randn(2, 3, 16))
    snn = random_on_grid(build(Sequences().eval(), x, KINDS[kind]))
    plan = Plan(snn)
    assert plan.packed >= {node for node in snn.graph.nodes if node.meta["role"] == "neuron"}
    assert loose_parts(snn) == []
    expected, found = spikes_of(snn, x, "torch"), spikes_of(snn, x, "cpu")
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
    assert all(bool(values.any()) for values in found.values())
