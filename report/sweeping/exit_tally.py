"""Early exit measured: mean T against accuracy, spikes and operations."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import SpikingNetwork, processes
from spikeport.convert.inputs import Input
from spikeport.convert.simulation.early_exit import EarlyExit
from spikeport.convert.simulation.emitted import Emitted
from spikeport.report.operations.energy import EnergyTable
from spikeport.report.operations.spike_counter import PerImage, SpikeCounter


class ExitTally:
    """Running sums over the batches of a sweep, for one rule.

    Args:
        network: calibrated.
        timesteps: T, the most.
        exit: the rule.
        counter: of the network's spikes.
    """

    def __init__(
        self, network: SpikingNetwork, timesteps: int, exit: EarlyExit, counter: SpikeCounter
    ) -> None:
        self.network, self.timesteps, self.exit, self.counter = network, timesteps, exit, counter
        self.times: Counter[int] = Counter()
        self.correct = self.agreed = 0
        self.spikes = self.accumulates = 0.0

    def add(self, images: Input, labels: Tensor, expected: Tensor) -> None:
        """Simulate one batch; ``expected`` are the source network's classes, [B]."""
        scores, times = self.network.early_exit(images, self.timesteps, self.exit, self._watch)
        best = scores.argmax(1)
        self.times.update(times.tolist())
        self.correct += int((best == labels).sum())
        self.agreed += int((best == expected).sum())

    def add_other_processes(self) -> None:
        """The sums over the images of all processes."""
        own = [float(self.correct), float(self.agreed), self.spikes, self.accumulates]
        own += [float(self.times[time]) for time in range(self.timesteps + 1)]
        added = processes.added(torch.tensor(own, dtype=torch.float64)).tolist()
        self.correct, self.agreed = round(added[0]), round(added[1])
        self.spikes, self.accumulates = added[2:4]
        self.times = Counter({t: round(n) for t, n in enumerate(added[4:]) if n})

    def _watch(self, name: str, emitted: Emitted) -> None:
        spikes, accumulates = self.counter.count(name, emitted)
        self.spikes += spikes
        self.accumulates += accumulates

    def row(self, labelled: int, energy: EnergyTable, of_one: PerImage) -> dict[str, Any]:
        """The tally as a row of a ``Curve``, with the mean T as ``timesteps``, and the rule.

        ``exit_times`` are the numbers of images that stopped at each T.
        """
        images = self.times.total()
        mean = sum(time * count for time, count in self.times.items()) / images
        acs = self.accumulates / images
        macs = of_one.once + mean * of_one.each
        return {
            "timesteps": mean,
            "top1": self.correct / labelled if labelled else None,
            "agreement": self.agreed / images,
            "output_error": None,
            "output_errors": {},
            "spikes_per_neuron": self.spikes / images / of_one.neurons,
            "acs": acs,
            "macs": macs,
            "energy_uj": energy.microjoules(acs, macs, of_one.neurons * mean),
            "at_most": self.timesteps,
            "exit": asdict(self.exit),
            "exit_times": {str(time): self.times[time] for time in sorted(self.times)},
        }
