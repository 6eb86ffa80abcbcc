"""Operations against counts by brute force, and against NeuroBench."""

import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spikeport.convert import ConversionError, Neuron, build
from spikeport.convert.simulation.early_exit import EarlyExit
from spikeport.convert.simulation.input_encoding import EventFrames, Poisson, TimeToFirstSpike
from spikeport.report import CMOS_45NM_FP32, MEMORIES, EnergyTable, complexity, cost, sweep
from spikeport.report.costing.quantized import quantized

TIMESTEPS = 5


class Net(nn.Module):
    """Stride, padding, groups, a depthwise layer, a residual."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.a = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 4, (3, 1), padding=(2, 0), groups=4)
        self.head = nn.Linear(4 * 15, 5)

    def forward(self, x):
        y = self.a(self.stem(x).relu()).relu()
        y = (self.b(y) + y).relu()
        return self.head(self.c(y).relu().flatten(1))


FEEDS = {"relu": "a", "relu#1": "b", "relu#2": "c", "relu#3": "head"}


def small(neuron, threshold=0.25):
    torch.manual_seed(0)
    snn = build(Net().eval(), torch.randn(2, 3, 6, 6), neuron)
    for layer in snn.neurons.values():
        layer.threshold.data.fill_(threshold)
        layer.v0.data.fill_(threshold / 2)
    snn.a.weight.data[0, 0] = 0
    return snn, torch.randn(3, 3, 6, 6)


def reached(layer, height, width, size):
    """Weights that an input at (height, width) meets, one kernel position after the other."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel_size, layer.stride, layer.padding
    rows, columns = (size[0] + 2 * ph - kh) // sh + 1, (size[1] + 2 * pw - kw) // sw + 1
    found = 0
    for i in range(rows):
        for j in range(columns):
            inside = 0 <= height - i * sh + ph < kh and 0 <= width - j * sw + pw < kw
            found += inside * layer.out_channels // layer.groups
    return found


def operations(layer, counts):
    """``counts`` [B, C, H, W] spikes, one position after the other."""
    maps = counts.sum((0, 1)) if counts.ndim == 4 else counts.sum(0)[None]
    places = [(i, j) for i in range(maps.shape[0]) for j in range(maps.shape[1])]
    return sum(float(maps[i, j]) * reached(layer, i, j, maps.shape) for i, j in places)


@torch.no_grad()
@pytest.mark.parametrize("neuron", [Neuron(1, 0), Neuron(1, 1), Neuron(3, 3)], ids=str)
def test_operations_equal_a_count_by_brute_force(neuron):
    snn, x = small(neuron)
    emitted = {}
    for _ in snn.chunks(x, TIMESTEPS, TIMESTEPS, lambda name, out, _: emitted.update({name: out})):
        pass
    acs = 0.0
    for name, out in emitted.items():
        counts = (out / 0.25).abs().round().sum(0)
        counts = counts if name != "relu#3" else counts.flatten(1)
        acs += operations(snn.get_submodule(FEEDS[name]), counts)
    images = len(x)
    ones, analog = torch.ones_like(x), {}
    for name in ("stem", "a", "b", "c", "head"):
        snn.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: analog.update({name: args[0]})
        )
    snn.analog(x)
    dense = sum(operations(getattr(snn, n), torch.ones_like(v)) for n, v in analog.items())
    skipped = sum(operations(getattr(snn, n), (v != 0).float()) for n, v in analog.items())
    found = cost(snn, [x[:2], x[2:]], TIMESTEPS, progress=False)
    spiking, source, sparse, coarse, _ = found.rows
    assert spiking["acs"] == pytest.approx(acs / images)
    assert spiking["macs"] == pytest.approx(operations(snn.stem, ones) / images)
    assert source["macs"] == coarse["macs"] == pytest.approx(dense / images)
    assert sparse["macs"] == pytest.approx(skipped / images)
    neurons = sum(out[0, 0].numel() for out in emitted.values())
    assert spiking["updates"] == TIMESTEPS * neurons
    assert source["updates"] == neurons
    assert spiking["energy_uj"] == pytest.approx(
        (0.9 * spiking["acs"] + 4.6 * spiking["macs"]) * 1e-6
    )


OUTPUTS = {
    "map": lambda scores: scores[:, :, None, None],
    "dict": lambda scores: {"scores": scores, "first": scores[:, :1]},
    "tuple": lambda scores: (scores, scores[:, 1:]),
    "one value": lambda scores: scores[:, :1],
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("neuron", [Neuron(1, 0), Neuron(4, 4)], ids=str)
def test_operations_need_no_classes(kind, neuron, tmp_path):
    """Whatever is made of the same scores costs the same."""

    class Other(Net):
        def forward(self, x):
            return OUTPUTS[kind](super().forward(x))

    images = torch.randn(4, 3, 6, 6)
    found = []
    for make in (Net, Other):
        torch.manual_seed(0)
        snn = build(make().eval(), images[:2], neuron)
        for layer in snn.neurons.values():
            layer.threshold.data.fill_(0.25)
        snn.info["task"] = "classification"  # which only an output of that form can have
        found.append(cost(snn, [images], TIMESTEPS, progress=False))
    classifier, other = found
    for ours, theirs in zip(other.rows, classifier.rows, strict=True):
        assert ours["top1"] is ours["agreement"] is None
        for key in ("network", "acs", "macs", "updates", "energy_uj", "table"):
            assert ours[key] == theirs[key], key
    errors = [row["output_error"] for row in other.rows]
    assert errors[0] > 0  # spiking
    assert errors[1] == errors[2] == 0  # the source itself
    assert other.neurobench == classifier.neurobench
    assert "agreement" in str(classifier)
    assert "agreement" not in str(other)
    assert "output error" in str(other)
    other.save(tmp_path / "cost.csv")
    with pytest.raises(ConversionError, match="needs a classifier"):
        cost(snn, [images], TIMESTEPS, progress=False, early_exit=EarlyExit("gap", 0.5))


@torch.no_grad()
def test_effective_operations_skip_zero_weights_and_zero_inputs():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
    snn = build(net.eval(), torch.randn(2, 6), Neuron(1, 1))
    snn.get_submodule("2").weight.data[:, ::3] = 0
    for layer in snn.neurons.values():
        layer.threshold.data.fill_(0.3)
    x = torch.randn(5, 6)
    x[:, 1] = 0
    emitted = {}
    for _ in snn.chunks(x, TIMESTEPS, TIMESTEPS, lambda name, out, _: emitted.update({name: out})):
        pass
    acs = 0
    for source, layer in (("1", "2"), ("3", "4")):
        weight = snn.get_submodule(layer).weight
        for spikes in emitted[source].flatten(0, 1):
            acs += sum(int((weight[:, i] != 0).sum()) for i, s in enumerate(spikes) if s != 0)
    found = complexity(snn, [x], TIMESTEPS, progress=False)
    assert found["effective_acs"] == acs / 5
    assert found["effective_macs"] == 8 * 5  # the first layer, once, without the zero input
    assert found["dense"] == 8 * 6 + TIMESTEPS * (4 * 8 + 3 * 4)
    outputs = torch.cat([out.flatten() for out in emitted.values()])
    assert found["activation_sparsity"] == pytest.approx(float((outputs == 0).float().mean()))
    assert found["footprint"] == 4 * (8 * 7 + 4 * 9 + 3 * 5 + 2 * 8 + 2 * 4)
    assert 5 * 12 / 5 <= found["membrane_updates"] <= TIMESTEPS * 12


@torch.no_grad()
@pytest.mark.parametrize("neuron", [Neuron(1, 0), Neuron(1, 1), Neuron(3, 3)], ids=str)
def test_neurobench_counts_the_same(neuron):
    """Where its definitions apply: thresholds of 1, the weights' scale taken into the layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("neurobench", reason="pip install 'spikeport[neurobench]'")
        from neurobench.hooks.layer import LayerHook
        from neurobench.metrics.static import Footprint
        from neurobench.metrics.workload import (
            ActivationSparsity,
            MembraneUpdates,
            SynapticOperations,
        )
    snn, x = small(neuron, threshold=1.0)
    for layer in (snn.a, snn.b, snn.c, snn.stem):
        layer.weight.data.mul_(4)
    names = ("stem", "a", "b", "c", "head")
    hooks = [LayerHook(snn.get_submodule(name)) for name in names]
    seen = {name: SimpleNamespace(layer=layer, activation_outputs=[], pre_fire_mem_potential=[],
                                  post_fire_mem_potential=[])
            for name, layer in snn.neurons.items()}  # fmt: skip

    def keep(name):
        def hook(module, args, result):
            before = torch.zeros_like(result[1].v) if args[1] is None else args[1].v
            seen[name].activation_outputs.append(result[0])
            seen[name].pre_fire_mem_potential.append(before)
            seen[name].post_fire_mem_potential.append(result[1].v)

        return hook

    handles = [layer.register_forward_hook(keep(n)) for n, layer in snn.neurons.items()]
    snn.backend = "torch"
    for _ in snn.chunks(x, TIMESTEPS, chunk=1):
        pass
    model = SimpleNamespace(connection_hooks=hooks, activation_hooks=list(seen.values()))
    model.__net__ = lambda: snn
    data = (x, torch.zeros(3))
    operations = SynapticOperations()(model, None, data)
    theirs = {
        "effective_acs": operations["Effective_ACs"],
        "effective_macs": operations["Effective_MACs"],
        "dense": operations["Dense"],
        "activation_sparsity": ActivationSparsity()(model, None, data),
        "membrane_updates": MembraneUpdates()(model, None, data),
        "footprint": Footprint()(model),
    }
    for handle in (*handles, *(hook.hook for hook in hooks)):
        handle.remove()
    ours = complexity(snn, [x], TIMESTEPS, progress=False)
    if neuron.max_up > 1:  # NeuroBench calls a timestep without graded spikes one of accumulates
        for each in (theirs, ours):
            each["effective"] = each.pop("effective_acs") + each.pop("effective_macs")
    assert ours == pytest.approx(theirs, rel=1e-9)


@torch.no_grad()
def test_the_quantised_source_rounds_to_the_levels_of_t_timesteps():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    snn, x = build(net, torch.randn(2, 6), Neuron(2, 1)), 2 * torch.randn(9, 6)
    snn.neurons["1"].threshold.data.fill_(0.25)
    step = 0.25 / 4
    levels = (net[0](x) / step).round().clamp(0, 8)
    assert levels.max() == 8
    small = quantized(snn, 4)
    assert torch.allclose(small(x, timesteps=1), net[2](levels * step), atol=1e-6)
    assert float(snn.neurons["1"].threshold[0]) == 0.25


def test_event_inputs_are_charged_accumulates_in_the_first_layer():
    snn, x = small(Neuron(1, 1))
    stem = reached_by_all(snn.stem)
    constant = sweep(snn, [x], (8,), progress=False).rows[0]
    assert constant["macs"] == 3 * float(stem.sum())
    snn.encoding = EventFrames(layout="TB")
    frames = torch.randint(-2, 3, (8, *x.shape)).float()
    assert sweep(snn, [frames], (8,), progress=False).rows[0]["macs"] == 8 * constant["macs"]
    for encoding in (EventFrames(unit=1.0, layout="TB"), Poisson(0), TimeToFirstSpike(4)):
        snn.encoding = encoding
        given = frames if isinstance(encoding, EventFrames) else x
        _, events = encoding.present(given).advance(8)
        counts = events.abs() if isinstance(encoding, EventFrames) else (events != 0).float()
        first = float((counts.sum((0, 1, 2)) * stem).sum()) / 3
        row = sweep(snn, [given], (8,), progress=False).rows[0]
        rest = others(snn, given)
        assert row["macs"] == 0
        assert row["acs"] == pytest.approx(first + rest)


def reached_by_all(layer):
    return torch.tensor([[reached(layer, i, j, (6, 6)) for j in range(6)] for i in range(6)])


def others(snn, x):
    """Accumulates per image of all layers but the first."""
    total = 0.0

    def add(name, out, _):
        nonlocal total
        if name in FEEDS:
            counts = (out / 0.25).abs().round().sum(0)
            counts = counts if name != "relu#3" else counts.flatten(1)
            total += operations(snn.get_submodule(FEEDS[name]), counts)

    for _ in snn.chunks(x, 8, 8, add):
        pass
    return total / 3


def test_memory_is_added_and_tables_are_chosen_by_bits(tmp_path):
    snn, x = small(Neuron(1, 1))
    plain = cost(snn, [x], TIMESTEPS, progress=False)
    table = CMOS_45NM_FP32.with_memory(MEMORIES["sram-8kb"])
    found = cost(snn, [x], TIMESTEPS, table=table, progress=False)
    for a, b in zip(plain.rows, found.rows, strict=True):
        width = 1 if "bit" in a["network"] else 4
        accesses = 3 * a["acs"] + 2 * a["macs"] + 2 * a["updates"]
        assert b["energy_uj"] - a["energy_uj"] == pytest.approx(accesses * width * 1.25e-6)
    assert [row["table"] for row in plain.rows] == ["45 nm CMOS, 32-bit float"] * 3 + [
        "45 nm CMOS, 8-bit integer"
    ] * 2
    own = cost(snn, [x], TIMESTEPS, table=EnergyTable("chip", "mine", 2, 5), progress=False)
    assert {row["table"] for row in own.rows} == {"chip"}
    text = str(found)
    for part in ("3-bit activations", "an estimate", "8 KB SRAM", "NeuroBench: footprint"):
        assert part in text
    found.save(tmp_path / "cost.json")
    content = json.loads((tmp_path / "cost.json").read_text())
    assert content["rows"] == found.rows
    assert content["neurobench"] == found.neurobench
    found.save(tmp_path / "cost.csv")
    assert (tmp_path / "cost.csv").read_text().startswith("network,top1,")
    with pytest.raises(ConversionError, match=r"expected one of .csv, .json"):
        found.save(tmp_path / "cost.png")
    with pytest.raises(ConversionError, match="at least 0"):
        EnergyTable("chip", "mine", -1, 5)
