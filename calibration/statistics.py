"""Statistics of the neurons' input currents on the calibration data, in one streaming pass."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork
from spikeport.convert.batches import stream

BINS = 2048


class ChannelHistogram:
    """Histogram of the magnitude of a current, one per channel; its memory is fixed.

    A channel whose values outgrow its range doubles it and merges its bins in pairs, so a single
    pass over the data is enough and a bin is at most 1/1024 of the maximum wide.

    Attributes:
        counts: values above 0 in each bin, [C, BINS], float64.
        width: width of a bin, [C]; 0 for a channel without values above 0 so far.
        maximum: largest magnitude seen, [C].
    """

    def __init__(self, channels: int) -> None:
        self.counts = torch.zeros(channels, BINS, dtype=torch.float64)
        self.width = torch.zeros(channels, dtype=torch.float64)
        self.maximum = torch.zeros(channels, dtype=torch.float64)

    def add(self, magnitude: Tensor) -> None:
        """Count values >= 0, [C, N]."""
        magnitude = magnitude.to("cpu", torch.float64)
        highest = magnitude.amax(1)
        self.maximum = torch.maximum(self.maximum, highest)
        fresh = (self.width == 0) & (highest > 0)
        self.width = torch.where(fresh, highest / (BINS - 1), self.width)
        self._grow(highest)
        places = (magnitude / self.width.clamp_min(1e-300)[:, None]).long().clamp_(max=BINS - 1)
        places += torch.arange(len(places))[:, None] * BINS
        added = torch.bincount(places[magnitude > 0], minlength=self.counts.numel())
        self.counts += added.view_as(self.counts)

    def _grow(self, highest: Tensor) -> None:
        while bool((grow := highest >= self.width * BINS).logical_and_(self.width > 0).any()):
            merged = self.counts[grow].unflatten(1, (-1, 2)).sum(2)
            self.counts[grow] = torch.cat([merged, torch.zeros_like(merged)], 1)
            self.width[grow] *= 2

    @property
    def centers(self) -> Tensor:
        """The middle of each bin, [C, BINS]."""
        return (torch.arange(BINS) + 0.5) * self.width[:, None]

    def percentile(self, percent: float) -> Tensor:
        """The value that ``percent`` of a channel's values above 0 stay below, [C]."""
        wanted = self.counts.sum(1) * (percent / 100)
        place = (self.counts.cumsum(1) < wanted[:, None]).sum(1)
        return torch.minimum((place + 1) * self.width, self.maximum)

    def merged(self) -> "ChannelHistogram":
        """All channels as one, at the resolution of the widest."""
        one = ChannelHistogram(1)
        one.maximum[0], one.width[0] = self.maximum.max(), self.width.max()
        places = (self.centers / one.width.clamp_min(1e-300)).long().clamp_(max=BINS - 1)
        one.counts[0] = torch.bincount(places.flatten(), self.counts.flatten(), BINS)
        return one


def pooled(histograms: Sequence[ChannelHistogram]) -> ChannelHistogram:
    """Several histograms as one of all their channels."""
    everything = ChannelHistogram(0)
    everything.counts = torch.cat([one.counts for one in histograms])
    everything.width = torch.cat([one.width for one in histograms])
    everything.maximum = torch.cat([one.maximum for one in histograms])
    return everything


def collect(
    network: SpikingNetwork,
    batches: Iterable[Any],
    progress: bool = True,
    passed_over: Collection[str] = (),
) -> dict[str, ChannelHistogram]:
    """Histograms of every neuron's input current in the analog reading.

    A neuron in a ReLU's place counts what is above 0, one in the place of a linear quantity the
    absolute value. The layers ``passed_over`` keep an empty histogram.

    Raises:
        ConversionError: see ``watch_currents``.
    """
    neurons = network.neurons
    found = {name: ChannelHistogram(neuron.channels) for name, neuron in neurons.items()}

    def add(name: str, current: Tensor) -> None:
        if name not in passed_over:
            found[name].add(by_channel(neurons[name], magnitude(neurons[name], current)))

    watch_currents(network, batches, add, progress)
    return found


@torch.no_grad()
def watch_currents(
    network: SpikingNetwork,
    batches: Iterable[Any],
    add: Callable[[str, Tensor], None],
    progress: bool = True,
) -> None:
    """Call ``add(name, current)`` with each neuron's input in the analog reading, [B, ...].

    Raises:
        ConversionError: no data, batches of another shape than the network takes, or a current
            that is not finite (names the first such layer).
    """

    def observe(name: str, current: Tensor) -> None:
        require_finite(name, current)
        add(name, current)

    for batch in stream(batches, "calibrating", progress):
        network.analog(batch, observe)


def require_finite(name: str, values: Tensor) -> None:
    """Raise ConversionError where a layer's current, or what was made of it, is not finite."""
    if not bool(torch.isfinite(values).all()):
        raise ConversionError(
            f"layer '{name}': the input current is NaN or infinite on the calibration data; "
            "check the model's weights and the normalisation of the images"
        )


def by_channel(neuron: NeuronLayer, values: Tensor) -> Tensor:
    """[B, ...] values of a layer as [C, N]."""
    if values.ndim == 1:  # [B] has one channel
        return values[None]
    return values.movedim(neuron.channel_dim, 0).flatten(1)


def magnitude(neuron: NeuronLayer, current: Tensor) -> Tensor:
    """The magnitudes that a threshold has to cover, within the range of the activation."""
    return current.clamp(neuron.low, neuron.high).abs()
