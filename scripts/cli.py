"""The ``spikeport`` command."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from spikeport import __version__

# Command: its line in the list of commands. `spikeport.scripts.<command>_command` has the rest, and
# imports torch, so that only the module of the command that was given is imported.
COMMANDS = {
    "convert": "convert a model to a spiking network",
    "sweep": "measure a spiking network over timesteps",
    "inspect": "say which layers lose what, and what would mend it",
    "cost": "operations and energy estimate, beside the source network's",
    "report": "measure spiking networks and write one HTML page",
    "finetune": "train a spiking network for few timesteps",
    "quantize": "make an integer network, with the same spikes everywhere",
    "bench": "measure how fast the backends are",
    "demo": "convert EfficientNet-Lite0 and show it on photographs (a few minutes)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 for what the user can mend)."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(given).parse_args(given, argparse.Namespace(arguments=given))
    try:
        options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"spikeport: {error}", file=sys.stderr)
        return 2
    return 0


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line, with the options of the one command that is in it."""
    parser = argparse.ArgumentParser(
        prog="spikeport",
        description="Convert a trained PyTorch network to a spiking neural network and measure it.",
    )
    parser.add_argument("--version", action="version", version=f"spikeport {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = next((word for word in given if not word.startswith("-")), None)
    for name, line in COMMANDS.items():
        options = commands.add_parser(name, help=line)
        if name == command:
            import_module(f"spikeport.scripts.{name}_command").add_options(options)
    return parser


if __name__ == "__main__":  # torchrun starts modules
    sys.exit(main())
