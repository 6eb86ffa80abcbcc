"""The contenders of a benchmark and their interleaved runs."""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikeport.cpu.loader import why_unavailable
from spikeport.scripts.bench.device import CPU, timed
from spikeport.scripts.bench.setup import TimedNetwork
from spikeport.scripts.peers import Peer
from spikeport.scripts.peers.folded import FoldedNetwork
from spikeport.scripts.peers.peer import Mode

OURS = ("source", "torch", "cpu", "cuda")
INTEGERS = "integers"  # the network in whole numbers, on the backend of the device
WARM_STEPS = 4  # timesteps that prepare caches and weights before the clock runs
ROOM = 6 * 2**30  # bytes that a peer's chunk may take
COPIES = 6  # of its largest tensor that a peer holds at once
CHUNKS = (1, 2, 4, 8, 16, 32, 64)
HOPELESS = 1.3  # two trials in a row this much slower than the best end those of larger chunks
TRIAL_SECONDS = 3.0  # a trial is repeated until then, at most TRIAL_REPEATS times; the best counts
TRIAL_REPEATS = 4


@dataclass
class Contender:
    """Something that computes the decoded output from the images.

    Attributes:
        name: one of OURS, INTEGERS or a peer's.
        call: from the number of timesteps to the output, [B, K].
        warm: prepares a call for that many timesteps: caches, prepared weights, compiled kernels.
        notes: how it was set up; JSON-able.
    """

    name: str
    call: Callable[[int], Tensor]
    warm: Callable[[int], Any]
    notes: dict[str, Any] = field(default_factory=dict)


def ours(device: str) -> tuple[str, ...]:
    """Spikeport's own contenders on a device of DEVICES; its kernels have the device's name."""
    return "source", "torch", device


def names(
    only: Sequence[str] | None, against: Sequence[str], device: str, integers: bool = False
) -> list[str]:
    """The contenders that take part, in the order of their runs."""
    able = [name for name in ours(device) if name != "cpu" or not why_unavailable()]
    wanted = [name for name in able if only is None or name in only]
    return [*wanted, *([INTEGERS] if integers else []), *against]


def contender(name: str, subject: TimedNetwork, peers: dict[str, Peer], most: int) -> Contender:
    """Set a contender up; a peer's mode and chunk are found by trial, up to ``most`` timesteps."""
    images = subject.images
    if name == "source":
        return Contender(name, lambda _: subject.source(images), lambda _: subject.source(images))
    if name in OURS or name == INTEGERS:
        run = partial(_simulate, subject, name)
        if images.is_cuda:  # memory is allocated and convolutions are chosen for whole chunks
            return Contender(name, run, run)
        return Contender(name, run, lambda timesteps: run(min(timesteps, WARM_STEPS)))
    folded = FoldedNetwork(subject.network, peers[name].time_first)
    trials = _trials(folded, peers[name], images, most)
    best = min(trials, key=lambda trial: trial[2])
    found = peer_contender(folded, peers[name], images, best[0].name, best[1])
    found.notes["trials"] = [
        {"mode": mode.name, "chunk": chunk, "seconds_per_timestep": seconds}
        for mode, chunk, seconds in trials
    ]
    return found


def peer_contender(
    folded: FoldedNetwork, peer: Peer, images: Tensor, mode: str, chunk: int
) -> Contender:
    """A peer in one of its modes, that many timesteps at once."""
    folded.use(next(each for each in peer.modes if each.name == mode).layer)
    notes = {
        "version": peer.version,
        "mode": mode,
        "chunk": chunk,
        "differences": folded.differences,
        "first_layer": "once",
    }

    def run(timesteps: int) -> Tensor:
        return folded.run(images, timesteps, chunk)

    # a whole chunk and what is left at the end: these are the sizes that a compiler sees
    return Contender(peer.name, run, lambda t: run(min(t, chunk) + t % chunk), notes)


def _simulate(subject: TimedNetwork, name: str, timesteps: int) -> Tensor:
    network = subject.network
    if name == INTEGERS:
        assert subject.integers is not None
        network, name = subject.integers, "cuda" if subject.images.is_cuda else "auto"
    network.backend = name
    output: Tensor = network(subject.images, timesteps)
    return output


def _trials(
    folded: FoldedNetwork, peer: Peer, images: Tensor, most: int
) -> list[tuple[Mode, int, float]]:
    """Seconds per timestep of every mode and chunk size worth trying."""
    fits = fitting_chunks(folded, images, most)
    found = []
    with tqdm(desc=f"{peer.name}: quickest mode", unit="trial", leave=False) as bar:
        for mode in peer.modes:
            best, slow = float("inf"), 0
            folded.use(mode.layer)
            for chunk in [c for c in fits if mode.most_steps is None or c <= mode.most_steps]:
                folded.run(images, chunk, chunk)
                steps = max(chunk, min(WARM_STEPS, most))
                seconds = _best(partial(folded.run, images, steps, chunk), images.device) / steps
                found.append((mode, chunk, seconds))
                bar.update()
                best = min(best, seconds)
                slow = slow + 1 if seconds > HOPELESS * best else 0
                if slow == 2:
                    break
    return found


def fitting_chunks(folded: FoldedNetwork, images: Tensor, most: int) -> list[int]:
    """Numbers of timesteps at once, up to ``most``, for which a peer has the memory; ascending."""
    shapes = [torch.Size(n.meta["shape"][1:]) for n in folded.nodes if n.meta.get("shape")]
    largest = 4 * len(images) * max(shape.numel() for shape in shapes)
    return [c for c in CHUNKS if c <= most and (c == 1 or c * largest * COPIES <= ROOM)]


def _best(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the quickest of a few calls; the caller has warmed up."""
    taken: list[float] = []
    while len(taken) < TRIAL_REPEATS and sum(taken) < TRIAL_SECONDS:
        taken.append(timed(call, device)[0])
    return min(taken)


def interleaved(
    contenders: list[Contender],
    timesteps: int,
    options: argparse.Namespace,
    device: torch.device = CPU,
) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """Time all contenders in turn, ``repeats`` times; the slow ones once.

    Returns:
        Per contender: ``seconds`` (median), ``all_seconds``, ``runs``; and the outputs, [B, K].
    """
    taken: dict[str, list[float]] = {each.name: [] for each in contenders}
    outputs: dict[str, Tensor] = {}
    for each in contenders:
        each.warm(timesteps)
    with tqdm(total=options.repeats * len(contenders), unit="run", leave=False) as bar:
        for _ in range(options.repeats):
            for each in contenders:
                bar.set_description(f"T={timesteps} {each.name}")
                times = taken[each.name]
                if not times or times[0] <= options.budget:
                    seconds, outputs[each.name] = timed(partial(each.call, timesteps), device)
                    times.append(seconds)
                bar.update()
    rows = {
        name: {"seconds": statistics.median(times), "all_seconds": times, "runs": len(times)}
        for name, times in taken.items()
    }
    return rows, outputs
