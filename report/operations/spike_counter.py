"""Spikes and the accumulates that they cost, counted while a network runs."""

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from spikeport.convert import SpikingNetwork
from spikeport.convert.simulation.emitted import Emitted
from spikeport.report.operations.synapses import Synapses, count_synapses


@dataclass
class PerImage:
    """Sizes and multiply-accumulates, summed over the images and, once divided, for one of them.

    Attributes:
        neurons: number of neurons.
        once: multiply-accumulates on the constant input.
        each: multiply-accumulates on analog values at each timestep.
        source_macs: those of the source network.
    """

    neurons: float = 0.0
    once: float = 0.0
    each: float = 0.0
    source_macs: float = 0.0

    def add(self, synapses: Synapses, images: int) -> None:
        """Images that have these synapses."""
        for field in fields(self):
            total = getattr(self, field.name) + images * getattr(synapses, field.name)
            setattr(self, field.name, total)

    def mean(self, images: int) -> "PerImage":
        """Counts for one image."""
        return PerImage(*(getattr(self, field.name) / images for field in fields(self)))


class SpikeCounter:
    """Counts what the layers of a network emit.

    Args:
        network: calibrated.

    Attributes:
        totals: summed over all images that were expected.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        self.network, self.totals = network, PerImage()
        self._neurons = set(network.neurons)
        self._by_size: dict[tuple[Any, ...], _Fanouts] = {}

    def expect(self, image_shape: tuple[Any, ...], images: int) -> None:
        """Count the next chunks as those of so many images of one size; see ``sizes``."""
        if image_shape not in self._by_size:
            self._by_size[image_shape] = _Fanouts(count_synapses(self.network, image_shape))
        self._now = self._by_size[image_shape]
        self.totals.add(self._now.synapses, images)

    def count(
        self, name: str, emitted: Emitted, begin: int = 0, end: int | None = None
    ) -> tuple[float, float]:
        """Spikes of neurons, and accumulates, of all images together.

        Args:
            name: layer that emitted; a max-pool's or the input's are no neurons' spikes.
            emitted: in a chunk.
            begin: first timestep of the chunk.
            end: after the last one; by default all.
        """
        now = self._now
        rows = now.synapses.rows[name]
        if rows > 1:
            values = emitted.values(begin, end)
            begin, end = 0, None
            emitted = Emitted(values.unflatten(1, (-1, rows)).flatten(2, 3), emitted.first)
        counts = emitted.counts(
            now.synapses.quantum[name], begin, end, by_channel=now.by_channel[name]
        )
        fanout = now.fanouts[name]
        spikes = float(counts.sum()) if name in self._neurons else 0.0
        return spikes, 0.0 if fanout is None else float((counts * fanout).sum())


class _Fanouts:
    """Fan-outs for images of one size."""

    def __init__(self, synapses: Synapses) -> None:
        self.synapses = synapses
        self.fanouts: dict[str, Tensor | None] = {}
        self.by_channel: dict[str, bool] = {}  # whether its channels have different fan-outs
        for name in synapses.fanout:
            self._set_fanout(name, synapses.total_fanout(name))

    def _set_fanout(self, name: str, fanout: Tensor | None) -> None:
        alike = fanout is None or bool((fanout == fanout[:1]).all())
        if fanout is not None:  # with channels innermost in memory, as counts of packed spikes are
            fanout = fanout[0] if alike else fanout.movedim(0, -1).contiguous().movedim(-1, 0)
        self.by_channel[name], self.fanouts[name] = not alike, fanout
