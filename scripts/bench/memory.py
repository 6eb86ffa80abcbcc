"""Peak memory of each contender, in a process of its own.

Run by `spikeport bench --memory T`; the file that it reads is written by the parent process.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from spikeport.convert import ConversionError
from spikeport.convert.saving.container import load, save
from spikeport.scripts.bench.runs import INTEGERS, OURS, Contender, contender, peer_contender
from spikeport.scripts.bench.setup import TimedNetwork
from spikeport.scripts.peers import find
from spikeport.scripts.peers.folded import FoldedNetwork

STATUS = Path("/proc/self/status")


def measure(
    subject: TimedNetwork, contenders: list[Contender], timesteps: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Run each contender once for each T in a fresh process.

    Returns:
        A row for each: ``name``, ``timesteps``, ``peak_mib`` (largest resident set of the process
        during the run) and ``before_mib`` (its resident set before: interpreter, torch, weights).
    """
    if not STATUS.exists():
        raise ConversionError("--memory reads Linux's /proc/self/status, which is not there")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        save(subject.network, Path(folder) / "network.snn")
        if subject.integers is not None:
            save(subject.integers, Path(folder) / f"{INTEGERS}.snn")
        torch.save(subject.images, Path(folder) / "images.pt")
        runs = [(each, time) for each in contenders for time in timesteps]
        for each, time in tqdm(runs, desc="memory", unit="run", leave=False):
            task = {"name": each.name, "timesteps": time, "threads": torch.get_num_threads()}
            task |= {key: each.notes.get(key) for key in ("mode", "chunk")}
            command = [sys.executable, "-m", __name__, folder, json.dumps(task)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append({"name": each.name, "timesteps": time, **json.loads(done.stdout)})
    return rows


@torch.no_grad()
def _child(folder: str, task: dict[str, Any]) -> None:
    """Run one contender; print its memory as JSON."""
    torch.set_num_threads(task["threads"])
    name = task["name"]
    network = load(Path(folder) / (f"{INTEGERS}.snn" if name == INTEGERS else "network.snn"))
    images = torch.load(Path(folder) / "images.pt", weights_only=True)
    if name in OURS:  # the analog reading is the source network, batch norms folded
        source: Any = network.analog
        run = contender(name, TimedNetwork("", source, network, images), {}, 1)
    elif name == INTEGERS:
        run = contender(name, TimedNetwork("", network, network, images, network), {}, 1)
    else:
        peer = find(name)
        folded = FoldedNetwork(network, peer.time_first)
        run = peer_contender(folded, peer, images, task["mode"], task["chunk"])
    if name.endswith("-compiled"):  # the compiler's memory is not the simulator's
        run.warm(task["timesteps"])
    before = _status("VmRSS")
    _forget_peak()
    run.call(task["timesteps"])
    print(json.dumps({"peak_mib": _status("VmHWM"), "before_mib": before}))


def _forget_peak() -> None:
    """Let the largest resident set count from now on; loading weights takes some memory too."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> float:
    """A line of the process's status, MiB.

    Not getrusage: its maximum is inherited from the parent process.
    """
    text = STATUS.read_text("utf-8")
    found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    _child(sys.argv[1], json.loads(sys.argv[2]))
