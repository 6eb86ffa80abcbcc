"""No result depends on what fresh memory holds."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from spikeport.cpu.compiler import compiler

TESTS = Path(__file__).parent
RUN = """
import sys, pytest, torch
kinds = torch.empty(1000).view(torch.int32).unique()
assert len(kinds) > 990, "fresh memory is not random"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""
AGAIN = (
    "cpu/test_maxpool.py",
    "cpu/test_random_layers.py",
    "cpu/test_integer_layers.py",
    "convert/test_engine_geometries.py::test_a_pool_without_pixels_has_no_value_on_any_backend",
)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="replaces glibc's malloc")
def test_layers_and_pools_with_random_fresh_memory(tmp_path):
    """Tests again, where every allocation holds random bits."""
    library = tmp_path / "random_memory.so"
    driver = shlex.split(os.environ.get("CC", "")) or compiler()[:1]
    source = ["-x", "c", "-std=gnu11", "-O2", "-fPIC", "-shared", str(TESTS / "random_memory.c")]
    subprocess.run([*driver, *source, "-o", str(library)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *(str(TESTS.parent / test) for test in AGAIN)],
        cwd=TESTS.parents[1],
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
