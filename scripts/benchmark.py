"""``spikeport bench`` as a script: ``python -m spikeport.scripts.benchmark``."""

import sys
from collections.abc import Sequence

from spikeport.scripts import cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    return cli.main(["bench", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
