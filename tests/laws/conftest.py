"""Puts the helpers beside these tests, and the kernels' stand-in, on the path."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "cuda")]
