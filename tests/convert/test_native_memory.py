"""Memory is bounded by the chunk, whatever T is."""

import subprocess
import sys

import pytest

from spikeport.cpu.loader import why_unavailable

RUN = """
import sys, resource, torch
from torch import nn
from spikeport.convert import KINDS, build
from spikeport.report import sweep

backend, way, timesteps = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(1)
torch.manual_seed(0)
layers = [nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
layers += [nn.MaxPool2d(2), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 1000)).eval()
x = torch.randn(4, 3, 64, 64)
snn = build(model, x, KINDS["signed"])
for neuron in snn.neurons.values():
    neuron.threshold.fill_(1.0)
    neuron.v0.fill_(0.5)
snn.backend = backend
if way == "forward":
    snn(x, timesteps)
elif way == "chunks":
    for _ in snn.chunks(x, timesteps):
        pass
else:
    sweep(snn, [x], [2**k for k in range(11) if 2**k <= timesteps], progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(backend: str, way: str, timesteps: int) -> float:
    """Of a process that does such a run, MiB."""
    command = [sys.executable, "-c", RUN, backend, way, str(timesteps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["forward", "chunks", "sweep"])
@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_a_long_run_takes_no_more_than_a_short_one(backend, way, record_property):
    if backend == "cpu" and why_unavailable():
        pytest.skip(str(why_unavailable()))
    short, long = peak(backend, way, 64), peak(backend, way, 1024)
    measured = f"{backend}, {way}: {short:.0f} MiB at T=64, {long:.0f} MiB at T=1024"
    record_property("shown", measured)
    assert long < 1.2 * short
