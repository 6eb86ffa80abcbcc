"""How much the order of summation changes: per layer on equal inputs, and for whole networks."""

import pytest
import torch
from torch import nn

from spikeport.convert import KINDS, build
from spikeport.convert.simulation.run import Run
from spikeport.cpu.loader import why_unavailable

pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
TIMESTEPS = 32


class Block(nn.Module):
    """An inverted residual: 1x1, depthwise, 1x1, added to its input."""

    def __init__(self, channels):
        super().__init__()
        wide = 3 * channels
        self.expand, self.project = nn.Conv2d(channels, wide, 1), nn.Conv2d(wide, channels, 1)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)

    def forward(self, x):
        return x + self.project(self.depthwise(self.expand(x).relu()).relu())


def model():
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), Block(48), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(48, 64, 1), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, padding=1, groups=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    ).eval()


@torch.no_grad()
def differing(snn, x):
    """(spikes, differing values) of every layer, each given the engine's spikes as input."""
    snn.backend, parts = "cpu", {}
    for _ in snn.chunks(x, TIMESTEPS, observe=lambda k, v, _: parts.setdefault(k, []).append(v)):
        pass
    emitted = {name: torch.cat(values) for name, values in parts.items()}
    run, values, found = Run(snn, x, None), {}, {}
    for node in run.nodes:
        if node.meta["role"] not in ("neuron", "weighted", "linear", "difference"):
            continue
        values[node] = run._in_time(node, values, TIMESTEPS)
        name = str(node.target) if node.op == "call_module" else node.name
        if name in emitted:
            given = emitted[name].flatten(0, 1)
            # torch's max-pool takes differences of sums of floats: equal up to rounding
            wrong = (values[node] - given).abs() > 1e-3
            found[name] = (int(given.count_nonzero()), int(wrong.sum()))
            values[node] = given
    return found


@pytest.mark.parametrize("kind", ["if", "signed", "multi-level"])
def test_share_of_spikes_that_differ(kind, calibrate, record_property):
    torch.manual_seed(1)
    x = torch.randn(2, 3, 64, 64)
    snn = calibrate(build(model(), x, KINDS[kind]), x)
    with torch.no_grad():
        for neuron in snn.neurons.values():  # thresholds that are not the largest current
            neuron.threshold.mul_(0.4 * torch.rand_like(neuron.threshold) + 0.3)
            neuron.v0.copy_(neuron.threshold / 2)
    found = differing(snn, x)
    total, wrong = (sum(column) for column in zip(*found.values(), strict=True))
    share = f"{wrong} of {total} ({wrong / total:.1e})"
    record_property("shown", f"cpu and torch, {kind}: spikes that differ on equal inputs: {share}")
    assert set(found) >= set(snn.neurons)
    assert wrong < 1e-5 * total
    answers = {}
    for backend in ("torch", "cpu"):
        snn.backend = backend
        answers[backend] = snn(x, 4 * TIMESTEPS).argmax(1)
    assert torch.equal(answers["torch"], answers["cpu"])
