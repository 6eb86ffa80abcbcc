"""Emissions of a layer on the native engine, as seen by those who watch."""

import math

from torch import Tensor

from spikeport.convert.simulation.emitted import Emitted
from spikeport.convert.simulation.native.layouts import without_sides
from spikeport.cpu.streams import Stream

PORTION_BYTES = 16 * 2**20  # of the values that are unpacked at once


class PackedSpikes(Emitted):
    """A stream as seen by those who watch: counted as it is, unpacked only if they ask for it.

    Args:
        stream: of the chunk.
        value: of one spike, [C].
        first: number of timesteps before the chunk.
        rank: of the values at a timestep, [B, C, ...].
    """

    def __init__(self, stream: Stream, value: Tensor, first: int, rank: int) -> None:
        self._stream, self._value, self._rank = stream, value, rank
        self.first, self.timesteps = first, stream.timesteps
        per_step = 4 * stream.batch * stream.channels * math.prod(stream.size)
        self.portion = max(1, PORTION_BYTES // per_step)

    def values(self, begin: int = 0, end: int | None = None) -> Tensor:
        """See ``Emitted.values``."""
        return without_sides(self._stream.unpack(self._value, begin, end), self._rank)

    def counts(
        self,
        quantum: Tensor | None,
        begin: int = 0,
        end: int | None = None,
        by_channel: bool = True,
    ) -> Tensor:
        """See ``Emitted.counts``; the quantum is the value of a spike anyway."""
        count = self._stream.totals if by_channel else self._stream.pixel_totals
        return without_sides(count(begin, end), self._rank)
