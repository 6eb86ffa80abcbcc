"""``spikeport inspect``: where a saved network's output error comes from, layer by layer."""

import argparse

from spikeport.report.inspecting.inspection import FORMATS
from spikeport.scripts.options import add_data, add_output, loader, positive
from spikeport.scripts.saved_network import (
    add_network,
    add_reference,
    fresh_images,
    load_for_images,
    reference,
)
from spikeport.zoo.pipeline import inspect

IMAGES = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        "Simulate a few images, split the output error over layers and causes, and "
        "measure what each layer would win with exact values. Needs no labels."
    )
    add_network(parser)
    add_data(parser, IMAGES, "to simulate; the calibration images among them are left out")
    parser.add_argument(
        "-T",
        "--timesteps",
        type=positive,
        metavar="T",
        help="default: the one that the network was calibrated for, otherwise 16",
    )
    add_reference(parser)
    add_output(parser, "result", FORMATS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Load, inspect, print, save."""
    network = load_for_images(options.network)
    batches = loader(fresh_images(network, options), options.batch_size)
    inspection = inspect(network, batches, options.timesteps, reference(network, options))
    print(inspection)
    for output in options.output:
        inspection.save(output)
