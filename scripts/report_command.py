"""``spikeport report``: saved networks as one HTML page."""

import argparse
import shlex
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.simulation.early_exit import class_scores, is_scores
from spikeport.scripts.options import add_data, add_encoding, loader, timestep_list
from spikeport.scripts.saved_network import add_reference, fresh_images, load_for_images, reference
from spikeport.zoo.labels import class_names

INSPECTED = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        "Curves, errors by layer, cost, spikes, and differences from the source "
        "network, on one page that needs nothing else. Several networks are compared."
    )
    parser.add_argument("networks", nargs="+", metavar="NET", help="files from `spikeport convert`")
    add_data(parser, None, "to evaluate on; the calibration images among them are left out")
    parser.add_argument(
        "-T",
        "--timesteps",
        type=timestep_list,
        default=(1, 2, 4, 8, 16, 32),
        metavar="T,T,…",
        help="default: 1,2,4,8,16,32",
    )
    parser.add_argument(
        "--inspect",
        type=int,
        default=INSPECTED,
        metavar="N",
        help="look for the errors of each layer on N of the images, and count the baselines of "
        f"the cost; slow for deep networks, 0 leaves it out (default: {INSPECTED})",
    )
    add_encoding(parser, "as saved with the networks")
    add_reference(parser)
    parser.add_argument(
        "-o", "--output", default="report.html", metavar="F", help="default: report.html"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Load, measure, write."""
    from spikeport.report.page.write_report import write_report  # matplotlib, which --help spares

    if options.inspect < 0:
        raise ConversionError(f"--inspect {options.inspect}: expected 0 or more images")
    networks = _named([Path(path) for path in options.networks])
    if options.encoding is not None:
        for network in networks.values():
            network.encoding = options.encoding
    images = {name: fresh_images(network, options) for name, network in networks.items()}
    references = {name: reference(network, options) for name, network in networks.items()}
    first = next(iter(networks))
    write_report(
        networks,
        {name: loader(subset, options.batch_size) for name, subset in images.items()},
        options.output,
        options.timesteps,
        reference=None if options.reference is None else references,  # type: ignore[arg-type]
        class_names=_class_names(images[first], networks[first]),
        inspected=options.inspect,
        command=shlex.join(["spikeport", *options.arguments]),
    )
    print(f"saved {options.output}")


def _named(paths: list[Path]) -> dict[str, SpikingNetwork]:
    """The networks by their file names, with as much of the folders as tells them apart."""
    depth = 1
    names = [path.stem for path in paths]
    while len(set(names)) < len(names) and depth < max(len(path.parts) for path in paths):
        depth += 1
        names = ["/".join(path.with_suffix("").parts[-depth:]) for path in paths]
    if len(set(names)) < len(names):
        raise ConversionError(f"'{paths[0]}' and others: expected each network once")
    return {name: load_for_images(str(path)) for name, path in zip(names, paths, strict=True)}


def _class_names(images: Subset[Any], network: SpikingNetwork) -> list[str] | None:
    """Names of the class folders, if they have any; ImageNet's for as many outputs as one has."""
    folders: list[str] = images.dataset.classes  # type: ignore[attr-defined]
    coded = all(name.isdecimal() or (name[0] == "n" and name[1:].isdecimal()) for name in folders)
    if not coded and folders != ["."]:
        return folders
    outputs = network.analog(torch.zeros(1, *network.traced_shape[1:]))
    return class_names(class_scores(outputs).shape[1]) if is_scores(outputs) else None
