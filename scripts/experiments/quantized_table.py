"""Accuracy of a quantised ResNet-20 (QCFS) and of its spiking network, by T.

    python -m spikeport.scripts.experiments.quantized_table --data DIR -o OUT

trains for ``--epochs``, from the shipped weights of ResNet-20, into OUT, goes on where it was
stopped, and prints one line for each neuron. On a slow CPU this takes ten minutes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import spikeport as sp
from spikeport.convert import Neuron
from spikeport.finetune.training.folder import TrainingFolder
from spikeport.scripts.experiments.cifar_training import CifarTraining, TrainingRecipe
from spikeport.scripts.experiments.quantized_resnet import quantized_resnet20, set_ranges
from spikeport.scripts.options import positive, timestep_list
from spikeport.zoo.cifar import MEAN, STD
from spikeport.zoo.cifar_data import read_split

BATCH = 100
CALIBRATION = 256  # training images for the layers without levels


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, convert, print."""
    options = _parser().parse_args(arguments)
    torch.manual_seed(options.seed)
    train, test = read_split(options.data, "train"), read_split(options.data, "test")
    network = trained(options, train, test)
    draw = torch.Generator().manual_seed(options.seed)
    every = torch.randperm(len(test[0]), generator=draw)[: options.images]
    images, labels = test[0][every], test[1][every]
    batches = [
        (normalized(x), y) for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)
    ]
    right = sum(int((network(x).argmax(1) == y).sum()) for x, y in batches)
    print(
        f"source network, {options.levels} levels, {options.epochs} epochs: top-1 "
        f"{right / len(labels):.4f} of {len(labels)} test images"
    )
    chosen = torch.randperm(len(train[0]), generator=draw)[:CALIBRATION]
    calibration = normalized(train[0][chosen])
    header = " | ".join(f"T={time}" for time in options.timesteps)
    print(f"| neurons | {header} |\n|{' --- |' * (1 + len(options.timesteps))}")
    for neuron in options.neurons:
        print(_row(network, _neuron(neuron), calibration, batches, options.timesteps), flush=True)


def trained(
    options: argparse.Namespace, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> nn.Module:
    """The quantised network in eval mode, after all epochs that are not done yet."""
    recipe = TrainingRecipe(options.epochs, 128, options.learning_rate, seed=options.seed)
    network = quantized_resnet20(options.levels).eval()
    set_ranges(network, normalized(train[0][torch.randperm(len(train[0]))[:512]]))
    statistics, measured = (torch.tensor(MEAN), torch.tensor(STD)), (test[0][::20], test[1][::20])
    training = CifarTraining(network, recipe, train, measured, statistics)
    out = Path(options.output)
    out.mkdir(parents=True, exist_ok=True)
    folder, identity = TrainingFolder(out), {"levels": options.levels} | vars(recipe)
    state = folder.state(identity)
    if state is not None:
        training.restore(state)
    training.run(lambda: folder.keep(training, identity))
    return network.eval()


def normalized(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] as the network takes them."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


@torch.no_grad()
def _row(
    network: nn.Module,
    neuron: str | Neuron,
    calibration: Tensor,
    batches: list[Any],
    timesteps: Sequence[int],
) -> str:
    """Accuracy, and agreement with the source network in brackets, at every T."""
    snn = sp.to_snn(network, [calibration], neuron=neuron, progress=False)
    curve = sp.sweep(snn, batches, timesteps=timesteps, reference=network, progress=False)
    cells = [f"{row['top1']:.3f} ({row['agreement']:.3f})" for row in curve.rows]
    return f"| {snn.info['neuron_label']} | {' | '.join(cells)} |"


def _neuron(text: str) -> str | Neuron:
    up, _, down = text.partition(":")
    return Neuron(int(up), int(down or 0)) if up.isdigit() else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="DIR", help="CIFAR-10, see train_cifar")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="of the training")
    parser.add_argument("--levels", type=positive, default=8, metavar="L")
    parser.add_argument("--epochs", type=positive, default=2, metavar="N")
    parser.add_argument("--learning-rate", type=float, default=0.03, metavar="X")
    parser.add_argument("--images", type=positive, default=1000, metavar="N", help="to measure on")
    parser.add_argument("--neurons", nargs="*", default=["if", "1:1", "2:2", "4:4", "8:8"])
    parser.add_argument(
        "-T", "--timesteps", type=timestep_list, default=(1, 2, 4, 8, 16), metavar="T,T,…"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    return parser


if __name__ == "__main__":
    main()
