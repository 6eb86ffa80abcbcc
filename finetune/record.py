"""What a run leaves for the losses."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Record(NamedTuple):
    """Outputs of every timestep, and means over the timesteps of what the layers did.

    Only the spikes and what some loss asks for are there; other dicts are empty. Keys are names of
    neuron layers.

    Attributes:
        outputs: [T, B, ...], those of the readout's window.
        rates: emitted values, [B, ...], activation units: compared with the source's activations.
        spikes: spikes of either sign per neuron and timestep, [B].
        membranes: potential before firing over threshold, mean over the neurons, [B].
        gaps: squared distance of the potential from the spikes it gave, in thresholds, mean over
            the neurons, [B].
    """

    outputs: Tensor
    rates: dict[str, Tensor]
    spikes: dict[str, Tensor]
    membranes: dict[str, Tensor]
    gaps: dict[str, Tensor]

    def tensors(self) -> list[Tensor]:
        """All of them, in one order."""
        return [self.outputs, *(value for part in self[1:] for value in part.values())]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Record":
        """Another record, with every tensor changed."""
        parts = [{name: change(value) for name, value in part.items()} for part in self[1:]]
        return Record(change(self.outputs), *parts)

    def over_time(self, timesteps: int) -> "Record":
        """Means instead of sums."""
        parts = [{name: value / timesteps for name, value in part.items()} for part in self[1:]]
        return Record(self.outputs, *parts)

    @property
    def answer(self) -> Tensor:
        """The decoded output, [B, ...]."""
        return self.outputs.mean(0)


def joined(parts: Iterable[Record], start: int, timesteps: int) -> Record:
    """One record from those of chunks, whose statistics are sums over their timesteps.

    Args:
        parts: in the order of time; each is read once and let go.
        start: timesteps that the readout leaves out.
        timesteps: T.
    """
    outputs: list[Tensor] = []
    sums: list[dict[str, Tensor]] = [{} for _ in Record._fields[1:]]
    for part in parts:
        outputs.append(part.outputs)
        for total, found in zip(sums, part[1:], strict=True):
            for name, value in found.items():
                total[name] = total[name] + value if name in total else value
    return Record(torch.cat(outputs)[start:], *sums).over_time(timesteps)
