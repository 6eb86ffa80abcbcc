"""Spikes and the accumulates that they cost, counted while a network runs."""

from torch import Tensor

from spikeport.convert import SpikingNetwork
from spikeport.convert.simulation.emitted import Emitted
from spikeport.report.operations.synapses import count_synapses


class SpikeCounter:
    """Counts what the layers of a network emit.

    Args:
        network: calibrated.
        image_shape: [C, ...] of one input.

    Attributes:
        synapses: fan-outs, and what is multiplied.
    """

    def __init__(self, network: SpikingNetwork, image_shape: tuple[int, ...]) -> None:
        self.synapses = count_synapses(network, image_shape)
        self._neurons = set(network.neurons)
        self._fanouts: dict[str, Tensor | None] = {}
        self._by_channel: dict[str, bool] = {}  # whether its channels have different fan-outs
        for name in self.synapses.fanout:
            self._set_fanout(name, self.synapses.total_fanout(name))

    def _set_fanout(self, name: str, fanout: Tensor | None) -> None:
        alike = fanout is None or bool((fanout == fanout[:1]).all())
        if fanout is not None:  # with channels innermost in memory, as counts of packed spikes are
            fanout = fanout[0] if alike else fanout.movedim(0, -1).contiguous().movedim(-1, 0)
        self._by_channel[name], self._fanouts[name] = not alike, fanout

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
        counts = emitted.counts(
            self.synapses.quantum[name], begin, end, by_channel=self._by_channel[name]
        )
        fanout = self._fanouts[name]
        spikes = float(counts.sum()) if name in self._neurons else 0.0
        return spikes, 0.0 if fanout is None else float((counts * fanout).sum())
