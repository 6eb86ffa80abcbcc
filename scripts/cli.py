"""The ``spikeport`` command."""

import argparse
import sys
from collections.abc import Sequence

from spikeport.scripts import (
    bench_command,
    convert_command,
    cost_command,
    demo,
    finetune_command,
    inspect_command,
    report_command,
    sweep_command,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 for what the user can mend)."""
    parser = argparse.ArgumentParser(
        prog="spikeport",
        description="Convert a trained PyTorch network to a spiking neural network and measure it.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (
        convert_command,
        sweep_command,
        inspect_command,
        cost_command,
        report_command,
        finetune_command,
        bench_command,
        demo,
    ):
        module.add_parser(commands)
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given, argparse.Namespace(arguments=given))
    try:
        options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"spikeport: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":  # torchrun starts modules
    sys.exit(main())
