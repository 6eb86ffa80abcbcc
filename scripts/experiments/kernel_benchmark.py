"""Additions per second of the engine's layers, against the machine's peak and torch's dense path.

Run as ``python -m spikeport.scripts.experiments.kernel_benchmark``.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeport.convert.neurons import KINDS, NeuronLayer
from spikeport.convert.simulation.native.layers import firing_of
from spikeport.cpu.layer import Layer
from spikeport.cpu.loader import paths, peak_adds
from spikeport.cpu.streams import Levels, pack
from spikeport.cpu.synapses import Geometry, Synapses
from spikeport.scripts.bench.setup import machine
from spikeport.scripts.bench.turns import medians
from spikeport.scripts.experiments.kernel_curves import add_traffic, curves
from spikeport.scripts.options import positive

# input channels, output channels, map size, kernel, groups
SHAPES = [
    (64, 64, 56, 3, 1),
    (128, 128, 28, 3, 1),
    (256, 256, 14, 3, 1),
    (512, 512, 7, 3, 1),
    (256, 256, 14, 1, 1),
    (128, 128, 28, 3, 32),
    (192, 192, 28, 3, 192),
]
DENSITIES = (0.01, 0.03, 0.1, 0.2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-T", "--timesteps", type=positive, default=32)
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--curves", action="store_true", help="with --json: also time over T and over density"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    peak = max(peak_adds() for _ in range(3)) * options.threads
    rows = []
    for shape in SHAPES:
        for density in DENSITIES:
            rows.append(add_traffic(measure(shape, density, options, peak), options.timesteps))
            if not options.json:
                print(_line(rows[-1], peak), flush=True)
    if options.json:
        given = sys.argv[1:] if arguments is None else arguments
        command = shlex.join(
            ["python", "-m", "spikeport.scripts.experiments.kernel_benchmark", *given]
        )
        report = {
            "command": command,
            "path": paths()[0],
            "peak_adds": peak,
            "machine": machine(),
            "rows": rows,
        }
        if options.curves:
            report |= curves(lambda shape, density, time: _at(time, shape, density, options, peak))
        print(json.dumps(report, indent=1))


@torch.no_grad()
def measure(
    shape: tuple[int, int, int, int, int], density: float, options: Any, peak: float
) -> dict[str, Any]:
    """One layer at one density: medians of interleaved runs."""
    inputs, outputs, size, kernel, groups = shape
    sizes = (options.timesteps, options.batch_size, inputs, size, size)
    spikes = (torch.rand(sizes) < density).float()
    weight = torch.randn(outputs, inputs // groups, kernel, kernel) * 0.05
    neuron = NeuronLayer(KINDS["if"], outputs)
    neuron.threshold.fill_(2.0)
    neuron.v0.fill_(1.0)
    one = torch.ones(inputs)
    where = Geometry((kernel, kernel), (1, 1), (kernel // 2, kernel // 2))
    layer = Layer(outputs, firing_of(neuron), [Synapses(weight, one, where, groups)])
    packed = pack(spikes, one, Levels(1, False))

    split = layer.split_for([packed])

    def native() -> None:
        layer.run([packed], threads=options.threads, split=split)

    def dense() -> Tensor:
        current = F.conv2d(spikes.flatten(0, 1), weight, None, 1, kernel // 2, 1, groups)
        return neuron(current.unflatten(0, sizes[:2]))[0]

    seconds = medians([native, dense], options.repeats)
    reached = F.conv2d(
        spikes.sum((0, 1))[None], torch.ones(1, inputs, kernel, kernel), padding=kernel // 2
    )
    adds = float(reached.sum()) * outputs / groups
    return {
        "shape": list(shape),
        "density": density,
        "batch": options.batch_size,
        "adds_per_second": adds / seconds[0],
        "of_peak": adds / seconds[0] / peak,
        "milliseconds": 1e3 * seconds[0],
        "times_faster_than_dense": seconds[1] / seconds[0],
    }


def _at(
    timesteps: int,
    shape: tuple[int, int, int, int, int],
    density: float,
    options: argparse.Namespace,
    peak: float,
) -> dict[str, Any]:
    """One layer at another number of timesteps than the options say."""
    return measure(
        shape, density, argparse.Namespace(**{**vars(options), "timesteps": timesteps}), peak
    )


def _line(row: dict[str, Any], peak: float) -> str:
    inputs, outputs, size, kernel, groups = row["shape"]
    layer = f"{inputs} -> {outputs}, {kernel}x{kernel}, {size}x{size}, {groups} group(s)"
    return (
        f"{layer:42s} density {row['density']:.2f}: {row['adds_per_second'] / 1e9:5.1f} Gadd/s, "
        f"{row['of_peak']:4.0%} of {peak / 1e9:.0f}; {row['milliseconds']:7.2f} ms, "
        f"{row['times_faster_than_dense']:5.1f}x dense"
    )


if __name__ == "__main__":
    main()
