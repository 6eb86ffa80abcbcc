"""``spikeport sweep``: accuracy, spikes and operations of a saved network at several T."""

import argparse
from typing import Any, get_args

from torch.utils.data import Subset

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.simulation.early_exit import EarlyExit, Rule
from spikeport.report.sweeping.curve import FORMATS
from spikeport.report.sweeping.exit_calibration import calibrate_exit
from spikeport.report.sweeping.sweep import sweep
from spikeport.scripts.options import (
    add_data,
    add_encoding,
    add_output,
    loader,
    positive,
    timestep_list,
    together,
)
from spikeport.scripts.saved_network import (
    add_network,
    add_reference,
    fresh_images,
    hold_out,
    load_for_images,
    reference,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        "Simulate once to the largest T; print and save the curve. Several "
        "processes: torchrun --nproc_per_node=N -m spikeport.scripts.cli sweep …"
    )
    add_network(parser)
    add_data(parser, None, "to evaluate on; the calibration images among them are left out")
    parser.add_argument(
        "-T",
        "--timesteps",
        type=timestep_list,
        default=(1, 2, 4, 8, 16, 32, 64),
        metavar="T,T,…",
        help="default: 1,2,4,8,16,32,64",
    )
    add_encoding(parser, "as saved with the network")
    add_exit(parser)
    add_reference(parser)
    add_output(parser, "curve", FORMATS)
    parser.set_defaults(run=run)


def add_exit(parser: argparse.ArgumentParser) -> None:
    """--early-exit, --exit-rule and --exit-images."""
    parser.add_argument(
        "--early-exit",
        type=float,
        metavar="A",
        help="also stop each image once it is sure, so that a share A of them, such as 0.99, keeps "
        "the class of the largest T",
    )
    parser.add_argument(
        "--exit-rule",
        choices=get_args(Rule),
        default="gap",
        help="what says how sure an answer is (default: gap, the best score less the second best)",
    )
    parser.add_argument(
        "--exit-images",
        type=positive,
        default=200,
        metavar="N",
        help="images that the exit's threshold is set on; they are not evaluated (default: 200)",
    )


def run(options: argparse.Namespace) -> None:
    """Load, sweep, print, save."""
    network = load_for_images(options.network)
    if options.encoding is not None:
        network.encoding = options.encoding
    with together("cpu"):
        images, exits = fresh_images(network, options), []
        if options.early_exit is not None:
            held_out, images = hold_out(images, options.exit_images)
            exits = [_early_exit(network, held_out, options)]
        batches = loader(_share(images), options.batch_size)
        curve = sweep(
            network, batches, options.timesteps, reference(network, options), early_exit=exits
        )
        if processes.is_first():
            print(curve)
            for output in options.output:
                curve.save(output)


def _early_exit(
    network: SpikingNetwork, images: Subset[Any], options: argparse.Namespace
) -> EarlyExit:
    """The rule of --exit-rule, which every process sets on the same images."""
    batches, last = loader(images, options.batch_size), max(options.timesteps)
    exit = calibrate_exit(network, batches, last, options.early_exit, options.exit_rule)
    if processes.is_first():
        print(f"early exit: threshold set on {len(images)} images, which are left out")
    return exit


def _share(images: Subset[Any]) -> Subset[Any]:
    """Images of this process."""
    count = processes.count()
    if len(images) < count:
        raise ConversionError(
            f"{len(images)} image(s) for {count} processes; start fewer, or pass more images"
        )
    return Subset(images, range(processes.rank(), len(images), count))
