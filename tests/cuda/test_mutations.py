"""Every deliberate bug in the kernels fails a test."""

import subprocess
import sys
from pathlib import Path

import pytest
from kernelhost.building import COMPILER


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_every_mutation_is_noticed(record_property):
    script = Path(__file__).with_name("mutations.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    record_property("shown", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
