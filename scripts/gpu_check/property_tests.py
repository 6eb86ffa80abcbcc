"""The tests marked ``gpu``, and a few of them behind compute-sanitizer."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import spikeport
from spikeport.scripts.gpu_check.deadline import Deadline

ROOT = Path(spikeport.__file__).resolve().parent
SANITIZER = "compute-sanitizer"
ELSEWHERE = "/usr/local/cuda/bin"  # where the toolkit puts it
OUTCOME = re.compile(r"^(\S+::\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b", re.MULTILINE)
SUMMARY = re.compile(r"ERROR SUMMARY: (\d+) error")
REPORT = re.compile(r"^========= (?!COMPUTE-SANITIZER|ERROR SUMMARY)(.+)$", re.MULTILINE)
FEW = "counted_by_channel or constant_current or its_width or average_pool or in_order"
RESERVE = 3.0  # seconds to end a process and to write down what it said
MOST_NAMES = 20  # of failed tests


def measure(device: torch.device, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Outcomes of the tests: how many of each, and the names of those that failed."""
    files = marked()
    if not files:
        yield {"left_out": "the tests are not installed: run this in a checkout"}
        return
    command = _pytest(files)
    said, status = _output(command, deadline.left - RESERVE)
    yield {"command": _shown(command), **outcomes(said), "in_time": status is not None}
    if status not in (0, None):
        raise RuntimeError(f"pytest ended with {status}:\n{said[-1500:]}")


def check_memory(device: torch.device, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Errors that compute-sanitizer's memcheck finds in a few of the tests."""
    path = os.pathsep.join([os.environ.get("PATH", ""), ELSEWHERE])
    sanitizer, files = shutil.which(SANITIZER, path=path), marked("test_device.py")
    if sanitizer is None or not files:
        missing = f"{SANITIZER} is not on PATH: it comes with the CUDA toolkit"
        yield {"left_out": missing if files else "the tests are not installed"}
        return
    command = [sanitizer, "--tool", "memcheck", *_pytest(files, "-k", FEW)]
    said, status = _output(command, deadline.left - RESERVE)
    found = SUMMARY.findall(said)
    errors = sum(map(int, found)) if found else None  # none: it had not come to its summary
    reports = list(dict.fromkeys(REPORT.findall(said)))[:MOST_NAMES]
    counts = outcomes(said)
    yield {"command": _shown(command), **counts, "errors": errors, "reports": reports}
    if status is None:
        raise TimeoutError(
            f"it was not done in time; {sum(counts['outcomes'].values())} tests were"
        )
    if errors or status != 0:
        raise RuntimeError(f"{errors} errors, exit status {status}:\n{said[-1500:]}")


def marked(name: str = "test_*.py") -> list[Path]:
    """The files with tests for a GPU; none where only the package is installed."""
    files = sorted((ROOT / "tests").rglob(name))
    return [file for file in files if "mark.gpu" in file.read_text("utf-8")]


def outcomes(said: str) -> dict[str, Any]:
    """Numbers of tests by outcome, also of a run that was ended, and the names of the failed."""
    found = OUTCOME.findall(said)
    failed = [name for name, outcome in found if outcome in ("FAILED", "ERROR")]
    return {"outcomes": dict(Counter(kind for _, kind in found)), "failed": failed[:MOST_NAMES]}


def _pytest(files: Sequence[Path], *more: str) -> list[str]:
    names = [str(file.relative_to(ROOT)) for file in files]
    options = ["-v", "-m", "gpu", "-p", "no:cacheprovider", *more]
    return [sys.executable, "-m", "pytest", *options, *names]


def _shown(command: Sequence[str]) -> str:
    """A command for people, without the paths of this machine."""
    return " ".join(Path(word).name if word.startswith("/") else word for word in command)


def _output(command: Sequence[str], seconds: float) -> tuple[str, int | None]:
    """The output of a process, and its exit status; None where it was ended for its time."""
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        return child.communicate(timeout=max(seconds, 0.1))[0], child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return child.communicate()[0], None
