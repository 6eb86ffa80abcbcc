"""The kernels run on the CPU here; see kernelhost/."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for kernelhost


@pytest.fixture
def cupy(monkeypatch) -> Iterator:
    """A stand-in for CuPy that runs the kernels on CPU tensors and checks every launch."""
    from kernelhost.building import COMPILER
    from kernelhost.standin import stand_in

    from spikeport.cuda import launch

    if COMPILER is None:
        pytest.skip("no C++ compiler: install g++, or name one in CXX")
    launch._function.cache_clear()
    yield stand_in(monkeypatch)
    launch._function.cache_clear()
