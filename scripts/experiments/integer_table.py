"""Accuracy, events and bytes of integer networks beside the float network.

``python -m spikeport.scripts.experiments.integer_table MODEL --data DIR`` prints a table of
docs/integer.md: the float network, and that network with weights of 8, 6, 5, 4 and 3 bits, rounded
to the nearest and with error feedback on the calibration images.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spikeport.convert import SpikingNetwork
from spikeport.convert.integers.quantize import quantize
from spikeport.convert.neurons.layer import neuron_labels
from spikeport.convert.saving.container import save
from spikeport.report.sweeping.sweep import sweep
from spikeport.scripts.options import add_data, add_neuron, loader, positive
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.images import image_folder, input_config, split
from spikeport.zoo.pipeline import to_snn

BITS = (8, 6, 5, 4, 3)
NEAREST_ABOVE = 6  # bits with which error feedback has nothing to mend


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    options = _options()
    model = load_model(options.model, options.checkpoint)
    calibration, evaluation = _images(model, options)
    network = to_snn(
        model, calibration, options.neuron, timesteps=options.timesteps, progress=False
    )
    source = _source_top1(model, evaluation)
    print(
        f"{options.model}, source {source:.1%} on {options.images} images; "
        f"{neuron_labels(network.neurons.values())}, T={options.timesteps}, calibrated on "
        f"{options.calibration} other images\n"
    )
    print("| weights | rounding | top-1 | agreement | events per neuron | other spikes | bytes |")
    print("|---|---|---|---|---|---|---|", flush=True)
    expected = _spikes(network, evaluation, options.timesteps)
    for bits, rounding, found in _networks(network, calibration, options.bits):
        row = sweep(found, evaluation, options.timesteps, model, progress=False).rows[0]
        cells = [bits, rounding, f"{row['top1']:.1%}", f"{row['agreement']:.3f}"]
        cells += [f"{row['spikes_per_neuron']:.2f}"]
        cells += [_differing(expected, _spikes(found, evaluation, options.timesteps))]
        print(f"| {' | '.join(cells)} | {_bytes(found):,} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--checkpoint", metavar="F")
    parser.add_argument("-T", "--timesteps", type=positive, default=16)
    parser.add_argument("--calibration", type=positive, default=200, metavar="N")
    parser.add_argument(
        "--calibration-data", metavar="DIR", help="calibration images, if they lie elsewhere"
    )
    parser.add_argument("--bits", type=positive, nargs="+", default=list(BITS))
    add_neuron(parser)
    add_data(parser, 1000, "to evaluate on, none of them calibrated on")
    return parser.parse_args()


def _images(model: nn.Module, options: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    config = input_config(model)
    folder = image_folder(options.data, config)
    if options.calibration_data is None:
        chosen, rest = split(folder, options.calibration, options.images, options.seed)
    else:
        elsewhere = image_folder(options.calibration_data, config)
        chosen = split(elsewhere, options.calibration, 0, options.seed)[0]
        rest = split(folder, 0, options.images, options.seed)[1]
    first, second = (list(loader(part, options.batch_size)) for part in (chosen, rest))
    return first, second


@torch.no_grad()
def _source_top1(model: nn.Module, batches: Sequence[Any]) -> float:
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
    return right / sum(len(y) for _, y in batches)


def _networks(
    network: SpikingNetwork, calibration: Sequence[Any], bits: Sequence[int]
) -> Iterator[tuple[str, str, SpikingNetwork]]:
    yield "float", "", network
    for count in bits:
        yield f"{count} bits", "nearest", quantize(network, count)
        if count <= NEAREST_ABOVE:
            found = quantize(network, count, rounding="calibrated", data=calibration)
            yield f"{count} bits", "calibrated", found


def _bytes(network: SpikingNetwork) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.snn"
        save(network, path)
        return path.stat().st_size


@torch.no_grad()
def _spikes(
    network: SpikingNetwork, batches: Sequence[Any], timesteps: int
) -> dict[str, torch.Tensor]:
    """The spikes of every layer on the first image, int16 [T, ...]."""
    found: dict[str, list[torch.Tensor]] = {}

    def observe(name: str, emitted: torch.Tensor, first: int) -> None:
        if name in neurons:
            value = neurons[name].per_channel(neurons[name].value, emitted[0])
            found.setdefault(name, []).append((emitted / value).round().to(torch.int16))

    neurons = network.neurons
    for _ in network.chunks(batches[0][0][:1], timesteps, observe=observe):
        pass
    return {name: torch.cat(parts) for name, parts in found.items()}


def _differing(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> str:
    """The share of neuron-timesteps with another number of spikes."""
    wrong = sum(int((expected[name] != found[name]).sum()) for name in expected)
    return f"{wrong / sum(values.numel() for values in expected.values()):.2%}"


if __name__ == "__main__":
    main()
