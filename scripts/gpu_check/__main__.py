"""``python -m spikeport.scripts.gpu_check``."""

import sys

from spikeport.scripts.gpu_check.command import main

if __name__ == "__main__":
    sys.exit(main())
