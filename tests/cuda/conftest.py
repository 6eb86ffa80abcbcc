"""The kernels run on the CPU here; see kernelhost/."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for kernelhost


USAGES: dict[str, list] = {}  # of the kernels that were compiled, for the end of the run


@pytest.fixture(scope="session")
def usages() -> dict[str, list]:
    """What each form of a kernel takes on each architecture; shown at the end."""
    return USAGES


def pytest_terminal_summary(terminalreporter) -> None:
    if USAGES:
        from spikeport.scripts.kernel_table import table

        terminalreporter.section("GPU kernels by architecture")
        terminalreporter.write_line(table(USAGES))


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
