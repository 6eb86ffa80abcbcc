"""A saved network, images that it has not seen, and the network to compare it with."""

import argparse
from typing import Any

from torch import nn
from torch.utils.data import Subset

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.saving.container import load
from spikeport.scripts.options import fingerprint
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.images import image_folder, split

ITSELF = ""


def add_network(parser: argparse.ArgumentParser) -> None:
    """The file that a command reads."""
    parser.add_argument("network", metavar="NET", help="file from `spikeport convert`")


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


def reference(network: SpikingNetwork, options: argparse.Namespace) -> nn.Module | None:
    """The network to compare with, by --reference; None for the saved network's own."""
    if options.reference is None:
        return None
    if options.reference == ITSELF:
        return load_model(network.info["source"], network.info.get("checkpoint"))
    return load_model(options.reference, options.reference_checkpoint)


def load_for_images(path: str) -> SpikingNetwork:
    """A saved network that says how images are prepared for it; raises ConversionError."""
    network = load(path)
    if "input" not in network.info:
        raise ConversionError(
            f"'{path}' does not say how images are prepared for it; "
            "use it from Python with your own loader (spikeport.sweep, spikeport.finetune, …)"
        )
    return network


def hold_out(images: Subset[Any], count: int) -> tuple[Subset[Any], Subset[Any]]:
    """The first images, which are in random order, and the rest."""
    if len(images) <= count:
        raise ConversionError(
            f"{len(images)} images are too few to set an early exit on {count} and to evaluate "
            "others; pass more with --images or fewer with --exit-images"
        )
    chosen = list(images.indices)
    return Subset(images.dataset, chosen[:count]), Subset(images.dataset, chosen[count:])


def fresh_images(network: SpikingNetwork, options: argparse.Namespace) -> Subset[Any]:
    """Images of --data that the network was not calibrated on, drawn at random."""
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
