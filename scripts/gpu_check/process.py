"""A section in a process of its own: a fault of the GPU ends that process and not the check."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from spikeport.convert.files import write_text
from spikeport.scripts.bench.device import device_named
from spikeport.scripts.gpu_check.deadline import Deadline
from spikeport.scripts.gpu_check.sections import SECTIONS

GRACE = 5.0  # seconds that a section may take longer before it is ended
MOST_OUTPUT = 2000  # characters of what a failed process printed


def isolated(name: str, seconds: float) -> dict[str, Any]:
    """Run a section in a fresh process, for so many seconds at most.

    Returns:
        What it found, with ``status`` ("done", "failed" or "stopped"), ``seconds`` and, unless
        done, ``error``.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        part, said = Path(folder) / "part.json", Path(folder) / "said.txt"
        command = [sys.executable, "-m", "spikeport.scripts.gpu_check", "--section", name]
        command += ["--until", str(time.time() + seconds), "-o", str(part)]
        with said.open("wb") as out:
            child = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            status = _wait(child, seconds + GRACE)
        found = json.loads(part.read_text("utf-8")) if part.exists() else {}
        if status != 0 and found.get("status") != "failed":
            error = "took too long" if status is None else f"the process ended with {status}"
            tail = said.read_text("utf-8", errors="replace")[-MOST_OUTPUT:]
            found |= {"status": "stopped" if status is None else "failed"}
            found |= {"error": f"{error}: {tail}".strip()}
    return found | {"seconds": round(time.monotonic() - start, 1)}


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status of a process; None where it had to be ended, with what it had started."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def here(name: str, seconds: float, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a section in this process.

    Args:
        name: of SECTIONS.
        seconds: it may take; it looks at the clock between two measurements.
        keep: is given all that was found so far.

    Returns:
        As ``isolated``.
    """
    start = time.monotonic()
    found: dict[str, Any] = {"status": "stopped", "error": "the process was ended"}
    try:
        device = device_named("cuda")
        for update in SECTIONS[name].measure(device, Deadline(seconds)):
            found |= update
            keep(found)
        del found["error"]
        found["status"] = "done"
    except Exception as error:  # whatever it is, the other sections have their turn
        found |= {"status": "failed", "error": f"{type(error).__name__}: {error}"[:MOST_OUTPUT]}
    found["seconds"] = round(time.monotonic() - start, 1)
    keep(found)
    return found


def child(name: str, until: float, path: Path) -> None:
    """The work of a section's own process: its findings go to a file.

    Args:
        name: of SECTIONS.
        until: when its time is over, of ``time.time()``: to import torch takes some of it.
        path: of the file.
    """
    torch.manual_seed(0)
    here(name, until - time.time(), lambda found: write_text(path, json.dumps(found)))
