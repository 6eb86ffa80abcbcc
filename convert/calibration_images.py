"""Calibration images: noted by their content, so that an evaluation can leave them out."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from spikeport.convert.batches import Batch, check_data, rows, stream
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input, tensors_of

NOTED = "calibration_digests"  # in ``network.info``


def digests(x: Input) -> list[str]:
    """A digest of each input of a batch, [B, ...], by its values in float32."""
    given = [value.detach().to("cpu", torch.float32).contiguous() for value in tensors_of(x)]
    return [_digest([value.numpy() for value in row]) for row in zip(*given, strict=True)]


def _digest(arrays: list[Any]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(array.data)
    return found.hexdigest()


class CalibrationData:
    """Batches to calibrate on, which notes the inputs that are read.

    Args:
        network: calibrated on them.
        batches: as people have them.
    """

    def __init__(self, network: SpikingGraph, batches: Iterable[Any]) -> None:
        check_data(batches)
        self.network, self.batches = network, batches
        self.seen: set[str] = set()
        self.complete = False  # whether all have been seen: passes read them again and again

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            if not self.complete:
                self.seen.update(digests(self.network.take_apart(batch).x))
            yield batch
        self.complete = True

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def note(self) -> None:
        """Add what was read to the network's ``info``."""
        self.network.info[NOTED] = sorted(self.seen.union(self.network.info.get(NOTED, ())))


class EvaluationData:
    """Batches to evaluate on, taken apart, without the inputs that were calibrated on.

    Args:
        network: evaluated.
        batches: as people have them.
        keep: leave none out.

    Attributes:
        left_out: number of inputs that the last reading left out.
        keep: as above; set where nothing else is left.
    """

    def __init__(self, network: SpikingGraph, batches: Iterable[Any], keep: bool) -> None:
        self.network, self.batches = network, batches
        self.keep = keep or not network.info.get(NOTED)
        self.left_out = 0
        self.calibrated_on = False  # whether all inputs are calibration images

    def read(self, what: str, progress: bool) -> Iterator[Batch]:
        """Iterate, with a progress bar; see ``stream``."""
        self.left_out = 0
        used = set() if self.keep else set(self.network.info[NOTED])
        for batch in stream(self.batches, what, progress):
            found = self.network.take_apart(batch)
            ndim = tensors_of(found.x)[0].ndim
            images = used and ndim == len(self.network.traced_shape)  # no event frames
            new = torch.tensor([d not in used for d in digests(found.x)] if images else True)
            if not bool(new.all()):
                self.left_out += int((~new).sum())
                if not bool(new.any()):
                    continue
                found = Batch(found.x[new.to(found.x.device)], rows(found.target, new))
            yield found

    def __iter__(self) -> Iterator[Batch]:
        return self.read("", progress=False)

    def use_all(self) -> None:
        """Keep calibration images from now on, because there are no others."""
        self.keep = self.calibrated_on = True


def without_digests(info: dict[str, Any]) -> dict[str, Any]:
    """The ``info`` of a network without the long list."""
    return {name: value for name, value in info.items() if name != NOTED}
