"""Whole networks: the source, torch, the kernels and SpikingJelly, in float, half and integer."""

import argparse
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import ConversionError
from spikeport.convert.integers.quantize import quantize
from spikeport.scripts.bench.device import timed
from spikeport.scripts.bench.runs import contender, fitting_chunks, peer_contender
from spikeport.scripts.bench.setup import TimedNetwork, timed_network
from spikeport.scripts.gpu_check.deadline import Deadline
from spikeport.scripts.peers import Peer, find
from spikeport.scripts.peers.folded import FoldedNetwork

MODELS = ("resnet18", "tf_efficientnet_lite0", "vgg16")  # the slowest last
TIMESTEPS = (32, 128, 1024)
SIZE = 224  # pixels
BATCH = 8
IMAGE_STEPS = 2048  # most images times timesteps
PEER_CHUNK = 32  # timesteps that SpikingJelly takes at once, where its memory allows
RUNS = 3
BITS = 8  # of the weights of an integer network
OURS = ("source", "torch", "cuda")

Call = Callable[[int], Tensor]


@torch.no_grad()
def measure(device: torch.device, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """``models``: by name and form, a row for each T; images of random numbers, random weights."""
    peer, missing = _spikingjelly(device)
    found: dict[str, Any] = {"size": SIZE, "spikingjelly": missing or f"{peer and peer.version}"}
    yield found
    models: list[dict[str, Any]] = []
    for place, name in enumerate(MODELS):
        own = deadline.share(len(MODELS) - place)
        network = timed_network(name, _options(), torch.device("cpu"))
        network.images = torch.randn(BATCH, 3, SIZE, SIZE)
        for left, (form, make) in zip(range(len(FORMS), 0, -1), FORMS.items(), strict=True):
            models.append({"model": name, "form": form, "rows": []})
            try:
                subject = _on(make(network), device)
                for _ in _rows(subject, peer, own.share(left), models[-1]):
                    yield {"models": models}
            except Exception as error:  # the other forms and models have their turn
                models[-1]["error"] = f"{type(error).__name__}: {error}"[:500]
            yield {"models": models}


def _spikingjelly(device: torch.device) -> tuple[Peer | None, str | None]:
    try:
        return find("spikingjelly", device), None
    except ConversionError as error:
        return None, str(error)


def _options() -> argparse.Namespace:
    """Options of the benchmark's setup, which is on the CPU: calibrated on few images."""
    return argparse.Namespace(
        checkpoint="random", batch_size=1, size=SIZE, data=None, neuron="if", recipe="fast"
    )


def _as_it_is(subject: TimedNetwork) -> TimedNetwork:
    return copy.deepcopy(subject)


def _halved(subject: TimedNetwork) -> TimedNetwork:
    source, network = copy.deepcopy((subject.source, subject.network))
    source, network = source.half(), network.half()
    return TimedNetwork(subject.name, source, network, subject.images.half())


def _quantized(subject: TimedNetwork) -> TimedNetwork:
    network = quantize(subject.network, BITS)
    return TimedNetwork(subject.name, subject.source, network, subject.images)


FORMS: dict[str, Callable[[TimedNetwork], TimedNetwork]] = {
    "float": _as_it_is,
    "half": _halved,
    "integer": _quantized,  # the last: it takes the source over
}


def _on(subject: TimedNetwork, device: torch.device) -> TimedNetwork:
    source, network = subject.source.to(device), subject.network.to(device)
    return TimedNetwork(subject.name, source, network, subject.images.to(device))


def _rows(
    subject: TimedNetwork, peer: Peer | None, deadline: Deadline, found: dict[str, Any]
) -> Iterator[None]:
    """Add a row to ``found`` for each T, and to each of them what every contender took."""
    for timesteps in TIMESTEPS:
        batch = max(1, min(BATCH, IMAGE_STEPS // timesteps))
        part = TimedNetwork(subject.name, subject.source, subject.network, subject.images[:batch])
        row: dict[str, Any] = {"timesteps": timesteps, "batch": batch, "contenders": {}}
        found["rows"].append(row)
        outputs: dict[str, Tensor] = {}
        for name, call in _contenders(part, peer, timesteps, found).items():
            expected = _expected(found, name, timesteps * batch)
            if not deadline.allows(2 * expected):
                row["contenders"][name] = {"left_out": f"it would take {expected:.1f} s"}
                continue
            try:
                seconds, outputs[name] = _timed(call, timesteps, subject.images.device, deadline)
                row["contenders"][name] = {
                    "seconds": seconds,
                    "images_per_second": batch / seconds,
                    **_compared(outputs, name),
                }
            except Exception as error:  # e.g. out of memory: the others have their turn
                row["contenders"][name] = {"error": f"{type(error).__name__}: {error}"[:300]}
            yield


def _contenders(
    subject: TimedNetwork, peer: Peer | None, timesteps: int, found: dict[str, Any]
) -> dict[str, Call]:
    calls: dict[str, Call] = {name: contender(name, subject, {}, 0).call for name in OURS}
    if peer is None:
        return calls
    try:
        folded = FoldedNetwork(subject.network, peer.time_first)
    except ConversionError as error:
        found["no_spikingjelly"] = str(error)
        return calls
    for mode in peer.modes:
        if mode.most_steps is None:  # the sequence operator, in each of its implementations
            chunk = fitting_chunks(folded, subject.images, min(timesteps, PEER_CHUNK))[-1]
            made = peer_contender(folded, peer, subject.images, mode.name, chunk).call
            calls[f"SpikingJelly {mode.name}"] = _in_mode(made, folded, mode.layer)
    return calls


def _in_mode(call: Call, folded: FoldedNetwork, layer: Callable[[], Any]) -> Call:
    """A call of a network that is shared by several modes."""

    def run(timesteps: int) -> Tensor:
        folded.use(layer)
        return call(timesteps)

    return run


def _expected(found: dict[str, Any], name: str, work: int) -> float:
    """Seconds of a run by the last one, for so many images times timesteps; 0 for the first."""
    for row in reversed(found["rows"]):
        seconds = row["contenders"].get(name, {}).get("seconds")
        if seconds is not None:
            return float(seconds * work / (row["batch"] * row["timesteps"]))
    return 0.0


def _timed(
    call: Call, timesteps: int, device: torch.device, deadline: Deadline
) -> tuple[float, Tensor]:
    """Seconds of the quickest of a few runs after one to warm up, as many as there is time for."""
    taken: list[float] = []
    while len(taken) <= RUNS and (not taken or deadline.allows(taken[-1])):
        seconds, output = timed(lambda: call(timesteps), device)
        taken.append(seconds)
    return min(taken), output


def _compared(outputs: dict[str, Tensor], name: str) -> dict[str, Any]:
    """Distance of an output from torch's: relative, and whether it is equal in every bit."""
    if name in ("source", "torch") or "torch" not in outputs:
        return {}
    own, reference = outputs[name].double(), outputs["torch"].double()
    off = float((own - reference).norm() / reference.norm())
    return {"off_by": off, "equal": torch.equal(own, reference)}
