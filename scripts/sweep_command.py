"""``spikeport sweep``: accuracy, spikes and operations of a saved network at several T."""

import argparse
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Subset

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.saving import load
from spikeport.report.sweeping import sweep
from spikeport.scripts.options import add_data, fingerprint, loader, timestep_list
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.images import image_folder, split

ITSELF = ""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sweep",
        help="measure a spiking network over timesteps",
        description="Simulate once to the largest T; print and save the curve.",
    )
    parser.add_argument("network", metavar="NET", help="file from `spikeport convert`")
    add_data(parser, None, "to evaluate on; the calibration images among them are left out")
    parser.add_argument(
        "-T",
        "--timesteps",
        type=timestep_list,
        default=(1, 2, 4, 8, 16, 32, 64),
        metavar="T,T,…",
        help="default: 1,2,4,8,16,32,64",
    )
    add_reference(parser)
    parser.add_argument(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="F",
        help="write the curve as .csv, .json or .png; may be repeated",
    )
    parser.set_defaults(run=run)


def add_reference(parser: argparse.ArgumentParser) -> None:
    """--reference and --reference-checkpoint."""
    parser.add_argument(
        "--reference",
        nargs="?",
        const=ITSELF,
        metavar="MODEL",
        help="compare with this model, loaded afresh; without MODEL, the one that "
        "was converted (default: the source network as kept in the file)",
    )
    parser.add_argument("--reference-checkpoint", metavar="F", help="weights of MODEL")


def run(options: argparse.Namespace) -> None:
    """Load, sweep, print, save."""
    for output in options.output:
        if Path(output).suffix not in (".csv", ".json", ".png"):
            raise ConversionError(f"'{output}': expected a name ending in .csv, .json or .png")
    network = load(options.network)
    images = evaluation_images(network, options)
    reference = load_reference(network, options)
    curve = sweep(network, loader(images, options.batch_size), options.timesteps, reference)
    print(curve)
    for output in options.output:
        curve.save(output)


def evaluation_images(network: SpikingNetwork, options: argparse.Namespace) -> Subset[Any]:
    """The images that --data and --images name, without those that were calibrated on."""
    if "input" not in network.info:
        raise ConversionError(
            f"'{options.network}' does not say how images are prepared for it; use it from "
            "Python with your own loader (spikeport.sweep, spikeport.inspect)"
        )
    folder = image_folder(options.data, network.info["input"])
    used = set(network.info.get("calibration_images", []))
    samples = folder.samples  # type: ignore[attr-defined]
    fresh = [i for i, (path, _) in enumerate(samples) if fingerprint(path) not in used]
    if len(fresh) < len(samples):
        print(
            f"{len(samples) - len(fresh)} images of '{options.data}' were calibrated on and "
            "are left out"
        )
    if not fresh:
        raise ConversionError(f"every image of '{options.data}' was calibrated on; pass others")
    rest = Subset(folder, fresh)
    count = min(options.images or len(fresh), len(fresh))
    chosen = split(rest, 0, count, options.seed)[1]
    return Subset(folder, [fresh[index] for index in chosen.indices])


def load_reference(network: SpikingNetwork, options: argparse.Namespace) -> nn.Module | None:
    """The model that --reference names."""
    if options.reference is None:
        return None
    if options.reference == ITSELF:
        return load_model(network.info["source"], network.info.get("checkpoint"))
    return load_model(options.reference, options.reference_checkpoint)
