"""The density of spikes from which torch's dense path is quicker than the engine, by shape.

Run as ``python -m spikeport.scripts.experiments.break_even``; DENSE_ABOVE of the native backend
comes from it. Processor time is measured, which other programs disturb less.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from spikeport.convert.neurons import Neuron, NeuronLayer
from spikeport.convert.simulation.native.layers import firing_of
from spikeport.cpu.layer import Layer
from spikeport.cpu.streams import Levels, Stream, pack
from spikeport.cpu.synapses import Geometry, Synapses
from spikeport.scripts.bench.turns import medians
from spikeport.scripts.options import positive

# input channels, output channels, map size, kernel, groups; maps of one pixel: linear layers
SHAPES = [
    (512, 1000, 1, 1, 1),
    (4096, 4096, 1, 1, 1),
    (96, 24, 56, 1, 1),
    (24, 144, 56, 1, 1),
    (240, 40, 28, 1, 1),
    (40, 240, 28, 1, 1),
    (480, 80, 14, 1, 1),
    (112, 672, 14, 1, 1),
    (256, 256, 14, 1, 1),
    (1152, 192, 7, 1, 1),
    (192, 1152, 7, 1, 1),
    (64, 64, 56, 3, 1),
    (128, 128, 28, 3, 1),
    (256, 256, 14, 3, 1),
    (512, 512, 7, 3, 1),
    (128, 128, 28, 3, 32),
    (256, 256, 14, 3, 4),
    (96, 96, 56, 3, 96),
    (240, 240, 28, 5, 240),
    (672, 672, 14, 5, 672),
    (1152, 1152, 7, 3, 1152),
]
LEVELS = (Neuron(1, 0), Neuron(1, 1), Neuron(4, 4))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each shape: density, and the times at 5 %, at 35 % and of torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-T", "--timesteps", type=positive, default=32)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--threads", type=positive, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for shape in SHAPES:
        inputs, outputs, size, kernel, groups = shape
        name = f"{inputs} -> {outputs}, {kernel}x{kernel}, {size}x{size}, {groups} group(s)"
        found = [break_even(shape, model, options) for model in LEVELS]
        print(f"{name:42s} {'  '.join(found)}", flush=True)


@torch.no_grad()
def break_even(shape: tuple[int, int, int, int, int], model: Neuron, options: Any) -> str:
    """The density at which a layer takes as long on the engine as on torch's dense path.

    From times at 5 and 35 %, between which the engine's grows linearly.
    """
    inputs, outputs, size, kernel, groups = shape
    weight = torch.randn(outputs, inputs // groups, kernel, kernel) * 0.05
    neuron = NeuronLayer(model, outputs)
    neuron.threshold.fill_(2.0)
    neuron.v0.fill_(1.0)
    one, threads = torch.ones(inputs), options.threads
    where = Geometry((kernel, kernel), (1, 1), (kernel // 2, kernel // 2))
    layer = Layer(outputs, firing_of(neuron), [Synapses(weight, one, where, groups)])
    plain = Layer(outputs, firing_of(neuron))
    few, many = (
        _packed(model, options.timesteps, inputs, size, density) for density in (0.05, 0.35)
    )

    def native(stream: Stream) -> None:
        layer.run([stream], threads=threads, split=layer.split_for([stream]))

    def dense() -> None:  # as convert/native.py does it
        spikes = many.unpack(one, threads=threads).flatten(0, 1)
        if size == 1:
            current = F.linear(spikes[..., 0, 0], weight[..., 0, 0])[..., None, None]
        else:
            current = F.conv2d(spikes, weight, None, 1, kernel // 2, 1, groups)
            current = current.contiguous(memory_format=torch.channels_last)
        current = current.unflatten(0, (many.timesteps, many.batch))
        plain.run([], [current], shape=(many.timesteps, many.batch, size, size), threads=threads)

    low, high, torch_time = medians(
        [lambda: native(few), lambda: native(many), dense], options.repeats, time.process_time
    )
    slope = max((high - low) / 0.30, 1e-12)
    found = min(max(0.05 + (torch_time - low) / slope, 0.0), 1.0)
    return f"{found:.2f} ({1e3 * low:6.2f} {1e3 * high:6.2f} {1e3 * torch_time:6.2f} ms)"


def _packed(model: Neuron, timesteps: int, channels: int, size: int, density: float) -> Stream:
    shape = (timesteps, 8 if size == 1 else 1, channels, size, size)
    sizes = torch.randint(1, model.max_up + 1, shape)
    signs = 1 - 2 * torch.randint(0, 1 + (model.max_down > 0), shape)
    spikes = sizes * signs * (torch.rand(shape) < density)
    return pack(spikes.float(), torch.ones(channels), Levels.of(model.max_up, model.max_down))


if __name__ == "__main__":
    main()
