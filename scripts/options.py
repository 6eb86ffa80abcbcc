"""Options and data handling that several commands share."""

import argparse
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Subset

from spikeport.convert import ConversionError, neuron_model
from spikeport.convert.files import is_stream
from spikeport.convert.neurons import NeuronModel
from spikeport.convert.neurons.kinds import syntaxes
from spikeport.convert.simulation.input_encoding import (
    Encoding,
    Poisson,
    TimeToFirstSpike,
    input_encoding,
)
from spikeport.report.operations.energy import MEMORIES, TABLES, EnergyTable, Memory


def positive(text: str) -> int:
    """An int >= 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def timestep_list(text: str) -> tuple[int, ...]:
    """ "1,2,4" as (1, 2, 4)."""
    return tuple(positive(part) for part in text.split(","))


def neuron(text: str) -> NeuronModel:
    """A neuron model by name or as text, see ``neuron_model``."""
    try:
        return neuron_model(text)
    except ConversionError as error:
        raise argparse.ArgumentTypeError(f"{error} ({'; '.join(syntaxes())})") from error


def neuron_list(text: str) -> list[NeuronModel]:
    """ "if,8:8,mt:4" as neurons."""
    return [neuron(part) for part in text.split(",")]


def add_neuron(parser: argparse.ArgumentParser) -> None:
    """--neuron."""
    parser.add_argument(
        "--neuron",
        type=neuron,
        metavar="KIND",
        help=f"{'; '.join(syntaxes())} (default: the recipe's own, otherwise signed, which is 1:1)",
    )


def encoding(text: str) -> Encoding:
    """constant, poisson, poisson:SEED, ttfs or ttfs:WINDOW."""
    kind, colon, rest = text.partition(":")
    classes: dict[str, type] = {"poisson": Poisson, "ttfs": TimeToFirstSpike}
    try:
        if colon and kind in classes:
            return classes[kind](int(rest))
        if text in ("constant", *classes):
            return input_encoding(text)
    except ValueError:  # one message for a number that is none or does not suit
        pass
    raise argparse.ArgumentTypeError(
        f"'{text}' is no encoding of images; expected constant, poisson, poisson:SEED, ttfs or "
        "ttfs:WINDOW (event frames are given from Python)"
    )


def add_encoding(parser: argparse.ArgumentParser, standard: str) -> None:
    """--encoding."""
    parser.add_argument(
        "--encoding",
        type=encoding,
        metavar="E",
        help="how images become currents: constant, poisson[:SEED], or ttfs[:WINDOW], time to "
        f"first spike in windows of so many timesteps (default: {standard})",
    )


def energy_table(text: str) -> EnergyTable:
    """A name in TABLES, or "AC,MAC" in pJ."""
    if text in TABLES:
        return TABLES[text]
    try:
        ac, mac = map(float, text.split(","))
        return EnergyTable("as given", "your own numbers", ac, mac)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}': expected {', '.join(TABLES)} or AC,MAC in pJ, such as 0.9,4.6"
        ) from error


def memory(text: str) -> Memory:
    """A name in MEMORIES, or pJ per byte."""
    if text in MEMORIES:
        return MEMORIES[text]
    try:
        return Memory("memory", "your own number", float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}': expected {', '.join(MEMORIES)} or pJ per byte, such as 1.25"
        ) from error


def add_data(
    parser: argparse.ArgumentParser, images: int | None, use: str, required: bool = True
) -> None:
    """--data, --images, --batch-size and --seed."""
    parser.add_argument(
        "--data",
        required=required,
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


def add_output(parser: argparse.ArgumentParser, what: str, formats: Iterable[str]) -> None:
    """--output, refused at once if it ends in something else than a key of ``formats``."""
    endings = list(formats)
    listed = f"{', '.join(endings[:-1])} or {endings[-1]}"

    def name(text: str) -> str:
        if Path(text).suffix not in endings and not is_stream(text):
            raise argparse.ArgumentTypeError(f"'{text}': expected a name ending in {listed}")
        return text

    parser.add_argument(
        "-o",
        "--output",
        type=name,
        action="append",
        default=[],
        metavar="F",
        help=f"write the {what} as {listed}; may be repeated",
    )


def loader(dataset: Dataset[Any], batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches in order."""
    return DataLoader(dataset, batch_size=batch_size)


def fingerprint(path: str | Path) -> str:
    """Identifies an image file by its content, wherever it lies."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def fingerprints(subset: Subset[Any]) -> list[str]:
    """Fingerprints of the files of a subset of an image folder."""
    samples = subset.dataset.samples  # type: ignore[attr-defined]
    return [fingerprint(samples[index][0]) for index in subset.indices]


@contextmanager
def together(device: str) -> Iterator[torch.device]:
    """The device of this process; processes that torchrun started know each other inside."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield torch.device(device)
        return
    cuda = torch.device(device).type == "cuda"
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        yield torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    finally:
        distributed.destroy_process_group()
