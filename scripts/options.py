"""Options and data handling that several commands share."""

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from spikeport.convert import KINDS, ConversionError, Neuron, neuron_spec
from spikeport.convert.neurons import Spec


def positive(text: str) -> int:
    """An int >= 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def timestep_list(text: str) -> tuple[int, ...]:
    """ "1,2,4" as (1, 2, 4)."""
    return tuple(positive(part) for part in text.split(","))


def neuron(text: str) -> Spec:
    """A neuron's name, or "UP,DOWN" such as "4,4"."""
    up, comma, down = text.partition(",")
    try:
        return Neuron(int(up), int(down)) if comma else neuron_spec(text)
    except (ConversionError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_neuron(parser: argparse.ArgumentParser) -> None:
    """--neuron."""
    parser.add_argument(
        "--neuron",
        type=neuron,
        metavar="KIND",
        help=f"{', '.join(KINDS)}; or UP,DOWN: most spikes per timestep of either sign, for "
        "example 4,4 (default: the recipe's own, otherwise signed, which is 1,1)",
    )


def add_data(parser: argparse.ArgumentParser, images: int | None, use: str) -> None:
    """--data, --images, --batch-size and --seed."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help=f"folder of images {use}; class folders may be named by class index, by ImageNet "
        "wnid, or anything else (numbered in sorted order)",
    )
    parser.add_argument(
        "--images",
        type=positive,
        default=images,
        metavar="N",
        help=f"use N images, drawn at random (default: {images or 'all'})",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=4,
        metavar="N",
        help="images simulated together (default: 4)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random draw (default: 0)")


def loader(dataset: Dataset[Any], batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches in order."""
    return DataLoader(dataset, batch_size=batch_size)


def fingerprint(path: str | Path) -> str:
    """Identifies an image file by its content, wherever it lies."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def fingerprints(subset: Subset[Any]) -> list[str]:
    """Of the files of a subset of an image folder."""
    samples = subset.dataset.samples  # type: ignore[attr-defined]
    return [fingerprint(samples[index][0]) for index in subset.indices]
