"""``spikeport quantize``: a saved network in, an integer network out."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.integers.quantize import quantize
from spikeport.convert.integers.settings import BITS, ROUNDINGS
from spikeport.convert.neurons.integrate_and_fire import POTENTIAL_BITS
from spikeport.convert.saving.container import load, save
from spikeport.report.operations.saturation import saturation
from spikeport.scripts.options import add_data, fingerprint, loader, positive
from spikeport.scripts.saved_network import add_network
from spikeport.zoo.images import image_folder, split


def layer_bits(text: str) -> tuple[str, int]:
    """NAME=BITS."""
    name, _, bits = text.partition("=")
    if not name or not bits.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected LAYER=BITS, such as layer1.0.conv1=6")
    return name, int(bits)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        "Make an integer network of a saved one: whole weights, thresholds, potentials and "
        "currents, with the same spikes on every backend."
    )
    add_network(parser)
    parser.add_argument(
        "--bits",
        type=int,
        choices=BITS,
        default=8,
        metavar="N",
        help="bits of a weight, 2 to 8 (default: 8)",
    )
    parser.add_argument(
        "--layer-bits",
        type=layer_bits,
        action="append",
        default=[],
        metavar="LAYER=N",
        help="bits of the weights of one layer; may be given several times",
    )
    parser.add_argument(
        "--potential-bits",
        type=int,
        default=24,
        choices=POTENTIAL_BITS,
        help="width of a membrane potential (default: 24)",
    )
    parser.add_argument(
        "--rounding",
        choices=ROUNDINGS,
        default="nearest",
        help="calibrated: make up for the errors of weights on calibration images, for 4 bits and "
        "fewer; needs --data (default: nearest)",
    )
    parser.add_argument(
        "--powers-of-two", action="store_true", help="make every threshold a power of two"
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse parts that have no form in whole numbers"
    )
    add_data(parser, 100, "to round with, and to count saturation on", required=False)
    parser.add_argument(
        "-T",
        "--timesteps",
        type=positive,
        default=32,
        metavar="T",
        help="timesteps in which to count, with --data, the potentials that saturate (default: 32)",
    )
    parser.add_argument("-o", "--output", required=True, metavar="F", help="file to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Load, quantize, save."""
    network = load(options.network)
    batches, seen = (), []
    if options.rounding == "calibrated" and options.data is None:
        raise ConversionError(
            "--rounding calibrated needs --data with the calibration images, such as those of "
            "`spikeport convert`"
        )
    if options.data is not None:
        folder = image_folder(options.data, network.info["input"])
        chosen, _ = split(folder, min(options.images, len(folder)), 0, options.seed)  # type: ignore[arg-type]
        batches = loader(chosen, options.batch_size)  # type: ignore[assignment]
        seen = [fingerprint(folder.samples[index][0]) for index in chosen.indices]  # type: ignore[attr-defined]
    found = quantize(
        network,
        options.bits,
        potential_bits=options.potential_bits,
        rounding=options.rounding,
        data=batches,
        layer_bits=dict(options.layer_bits),
        powers_of_two=options.powers_of_two,
        strict=options.strict,
    )
    if seen:  # no evaluation may use them
        known = network.info.get("calibration_images", [])
        found.info["calibration_images"] = list(dict.fromkeys([*known, *seen]))
    save(found, options.output)
    before, after = (Path(path).stat().st_size for path in (options.network, options.output))
    print(
        f"{options.output}: weights of {options.bits} bits, potentials of {options.potential_bits} "
        f"bits; {after:,} bytes, {before:,} before"
    )
    for part in found.info["integer"]["analog"]:
        print(f"  in activation units, rounded on the way to a neuron: {part}")
    if options.data is not None:
        _print_saturation(found, batches, options.timesteps)


def _print_saturation(network: SpikingNetwork, batches: Iterable[Any], timesteps: int) -> None:
    found = saturation(network, batches, timesteps)
    print(f"  potentials that saturate in {timesteps} timesteps: {'' if found else 'none'}")
    for name, share in found.items():
        print(f"    {name}: {share:.2%}")
