"""``spikeport cost``: operations and energy of a saved network beside those of its source."""

import argparse

from spikeport.report.costing.cost import FORMATS, cost
from spikeport.report.operations.energy import MEMORIES, TABLES, table_of
from spikeport.scripts.options import (
    add_data,
    add_encoding,
    add_output,
    energy_table,
    loader,
    memory,
    positive,
)
from spikeport.scripts.saved_network import (
    add_network,
    add_reference,
    fresh_images,
    load_for_images,
    reference,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        "Count what a spiking network does for one answer, and what its source network "
        "does dense, with zeros skipped, and with as few levels. Energy is an estimate."
    )
    add_network(parser)
    add_data(parser, 100, "to evaluate on; the calibration images among them are left out")
    parser.add_argument(
        "-T", "--timesteps", type=positive, required=True, metavar="T", help="timesteps"
    )
    parser.add_argument(
        "--energy",
        type=energy_table,
        metavar="E",
        help=f"{', '.join(TABLES)}, or your own AC,MAC in pJ (default: 45nm-fp32; for an integer "
        "network with adds as wide as its potentials)",
    )
    parser.add_argument(
        "--memory",
        type=memory,
        metavar="M",
        help=f"add memory accesses: {', '.join(MEMORIES)}, or pJ per byte (default: none)",
    )
    add_encoding(parser, "as saved with the network")
    add_reference(parser)
    add_output(parser, "table", FORMATS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Load, count, print, save."""
    network = load_for_images(options.network)
    if options.encoding is not None:
        network.encoding = options.encoding
    batches = loader(fresh_images(network, options), options.batch_size)
    table = (options.energy or table_of(network)).with_memory(options.memory)
    found = cost(network, batches, options.timesteps, reference(network, options), table)
    print(found)
    for output in options.output:
        found.save(output)
