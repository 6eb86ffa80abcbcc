"""Memory for packed spikes that is used again: fresh pages cost a tenth of a run's time."""

import torch
from torch import Tensor

from spikeport.cpu.fresh import uninitialised
from spikeport.cpu.streams import Levels, Stream


class Buffers:
    """Memory of the streams of one run.

    Args:
        reuse: whether nobody but the run keeps its streams.
    """

    def __init__(self, reuse: bool) -> None:
        self._reuse = reuse
        self._free: list[Tensor] = []  # flat

    def take(
        self, shape: tuple[int, int, int], timesteps: int, channels: int, levels: Levels
    ) -> Stream:
        """An uninitialised stream of maps [B, H, W], in the smallest free memory that holds it."""
        wanted = Stream.words(*shape, timesteps, channels, levels)
        fitting = [i for i, memory in enumerate(self._free) if len(memory) >= wanted]
        if not fitting:
            return Stream.empty(*shape, timesteps, channels, levels)
        chosen = self._free.pop(min(fitting, key=lambda i: len(self._free[i])))
        return Stream.empty(*shape, timesteps, channels, levels, chosen)

    def give_back(self, stream: Stream) -> None:
        """The stream is not read any more."""
        if self._reuse:
            storage = stream.bits.untyped_storage()
            self._free.append(uninitialised([0], torch.int64).set_(storage))
