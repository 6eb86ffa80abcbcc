"""Sums over the images for one row of an inspection."""

from typing import Any

import torch
from torch import Tensor

from spikeport.convert import NeuronLayer
from spikeport.report.inspecting.inspection import PARTS
from spikeport.report.inspecting.layer_errors import beyond, by_channel, rms

BINS = 20
SATURATED = 0.05  # share of a channel's values from which it counts as saturated


class LayerTally:
    """Contributions of an operation's errors to the output, and their sizes.

    Attributes:
        parts: sum of the contributions to the squared output error, by part.
        squared_error: of the output with this layer exact, summed.
    """

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.squared_error = self.inherited = self.added = self.size = 0.0

    def add_errors(self, expected: list[Tensor], came: list[Tensor], left: list[Tensor]) -> None:
        """Note an operation's values.

        Args:
            expected: in the reference, [B, ...].
            came: the reference's operation on what the network feeds it.
            left: what the network hands on, mean over time.
        """
        for source, before, after in zip(expected, came, left, strict=True):
            self.inherited += float((before - source).double().square().sum())
            self.added += float((after - before).double().square().sum())
            self.size += float(source.double().square().sum())

    def row(self, squared_error: float, of_swapped: float) -> dict[str, Any]:
        """The numbers of the row.

        Args:
            squared_error: of the output, over all images.
            of_swapped: the same over the images of ``self.squared_error``.
        """
        return {
            "gain": 1 - rms(self.squared_error, of_swapped) if of_swapped else 0.0,
            **{
                name: part / squared_error if squared_error else 0.0
                for name, part in self.parts.items()
            },
            "inherited": rms(self.inherited, self.size),
            "added": rms(self.added, self.size),
            "silent": [],
            "saturated": [],
            "unused": [],
            "firing": None,
            "density": None,
            "rate_histogram": None,
            "silent_share": 0.0,
        }


class NeuronTally(LayerTally):
    """The same of a neuron layer, with its spikes."""

    def __init__(self, neuron: NeuronLayer, timesteps: int) -> None:
        super().__init__()
        self.neuron, self.timesteps = neuron, timesteps
        channels = neuron.channels
        self.by_channel = torch.zeros(channels, dtype=torch.float64)
        self.fired = torch.zeros(channels, dtype=torch.bool)
        self.used = torch.zeros(channels, dtype=torch.bool)
        self.beyond = torch.zeros(channels, dtype=torch.float64)
        self.density = torch.zeros(timesteps, dtype=torch.float64)
        self.rates = torch.zeros(BINS, dtype=torch.float64)
        self.neurons = 0  # times images

    def add_spikes(self, events: Tensor) -> None:
        """Count events, [T, B, ...], activation units."""
        neuron = self.neuron
        fires = events != 0
        self.fired |= by_channel(neuron, fires.any(0)).any(1).cpu()
        self.density += fires.flatten(1).double().sum(1).cpu()
        value = neuron.per_channel(neuron.value, events[0])
        rates = (events.abs().sum(0) / value / self.timesteps).flatten()
        self.rates += torch.histc(rates.float(), BINS, 0, self.highest_rate).double().cpu()
        self.neurons += events[0].numel()

    def add_channels(self, expected: Tensor, current: Tensor, contribution: Tensor) -> None:
        """Note which channels are used, saturated, and make the error, [B, ...] each."""
        neuron = self.neuron
        self.used |= by_channel(neuron, expected != 0).any(1).cpu()
        self.beyond += (
            by_channel(neuron, beyond(neuron, current, self.timesteps)).double().sum(1).cpu()
        )
        self.by_channel += by_channel(neuron, contribution).double().sum(1).cpu()

    @property
    def highest_rate(self) -> int:
        """Most spikes per timestep."""
        return max(self.neuron.max_up, self.neuron.max_down)

    def row(self, squared_error: float, of_swapped: float) -> dict[str, Any]:
        """The numbers of the row."""
        silent = self.used & ~self.fired
        saturated = self.beyond > SATURATED * self.neurons / self.neuron.channels
        total = float(self.by_channel.sum())
        density = self.density / self.neurons
        edges = [self.highest_rate * place / BINS for place in range(BINS + 1)]
        return {
            **super().row(squared_error, of_swapped),
            "silent": _places(silent),
            "saturated": _places(saturated),
            "unused": _places(~self.used),
            "firing": float(density.mean()),
            "density": density.tolist(),
            "rate_histogram": {"edges": edges, "counts": [int(n) for n in self.rates]},
            "silent_share": float(self.by_channel[silent].sum()) / total if total else 0.0,
        }


def _places(mask: Tensor) -> list[int]:
    return mask.nonzero().flatten().tolist()
