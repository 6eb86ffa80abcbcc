"""The command line of the check."""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from spikeport.convert.files import write_text
from spikeport.cuda.available import why_unavailable
from spikeport.scripts.bench.setup import version_of
from spikeport.scripts.gpu_check import page
from spikeport.scripts.gpu_check.deadline import Deadline
from spikeport.scripts.gpu_check.process import child, isolated
from spikeport.scripts.gpu_check.sections import SECTIONS, TOTAL
from spikeport.scripts.gpu_check.table import lines

Runner = Callable[[str, float], dict[str, Any]]
PACKAGES = ("spikeport", "cupy-cuda13x", "cupy-cuda12x", "triton", "spikingjelly", "timm")


def main(arguments: Sequence[str] | None = None, run: Runner = isolated) -> int:
    """Run the check, or write the page of one; returns the exit status.

    Args:
        arguments: of the command line.
        run: runs a section, given its name and its seconds.
    """
    parser = argparse.ArgumentParser(prog="python -m spikeport.scripts.gpu_check", description=DOC)
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu.json"), metavar="JSON")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--page", type=Path, metavar="JSON", help="write the page of such a file")
    parser.add_argument("--docs", type=Path, default=Path("docs/gpu.md"), help="the page")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)  # of a child
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=TOTAL, help="of all (default: 480)")
    options = parser.parse_args(arguments)
    if options.page is not None:
        page.write(json.loads(options.page.read_text("utf-8")), options.docs)
        return 0
    if options.section is not None:
        child(options.section, options.until, options.output)
        return 0
    reason = why_unavailable()
    if reason:
        print(f"spikeport: nothing was checked, for there is no GPU to check on: {reason}")
        return 2
    report = check(options.only, options.seconds, options.output, run)
    return 0 if all(part["status"] == "done" for part in report["sections"].values()) else 1


def check(names: Sequence[str], seconds: float, output: Path, run: Runner) -> dict[str, Any]:
    """Run sections; the JSON is written again after each."""
    deadline = Deadline(seconds)
    report: dict[str, Any] = {"machine": _machine(), "seconds": 0.0, "sections": {}}
    for name in names:
        most = min(SECTIONS[name].seconds, deadline.left)
        print(f"\n{name} (up to {most:.0f} s)", flush=True)
        if not deadline.allows(1.0):
            found: dict[str, Any] = {"status": "left out", "seconds": 0.0, "error": "no time left"}
        else:
            found = run(name, most)
        report["sections"][name] = found
        report["seconds"] = round(seconds - deadline.left, 1)
        write_text(output, json.dumps(report, indent=1))
        print("\n".join(lines(name, found)), flush=True)
    return report


def _machine() -> dict[str, Any]:
    """Versions that the numbers depend on."""
    versions = {name: version_of(name) for name in PACKAGES}
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "packages": {name: version for name, version in versions.items() if version},
    }


DOC = """Do in eight minutes, on a machine with a GPU, all that needs one: the property tests, a
check of memory accesses, the speed of each kernel against a copy, of whole networks against other
tools, and of a training step. Each part has its own time; what is found is kept if one fails."""
