"""The base of threshold passes: known ranges, head-room, silent channels, granularity."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram, collect, pooled
from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork

HEADROOM = 1.2
SCOPES = ("model", "layer", "channel")


@dataclass(frozen=True)
class ThresholdPass:
    """Base of the passes that set thresholds; a subclass says which range a ReLU's channel needs.

    A range that is known (ReLU6: 6) is used as it is: statistics of few images would narrow it. A
    linear quantity (bottleneck) gets its largest magnitude times ``headroom``. A ReLU's channel
    that is silent on the calibration data gets its layer's largest range. The threshold is the
    range divided by ``max_up``. Potentials start at 0 again and corrections are dropped: they
    belonged to the thresholds before.

    Attributes:
        headroom: factor on the calibration maximum of linear quantities, >= 1.
        scope: what shares a range: "channel", "layer", or "model" (all of its ReLUs one, all of
            its linear quantities another).
        spikes_per_range: spikes in one timestep that make up the range; None for ``max_up``. With
            1 the others of a burst neuron only flush what has piled up.
    """

    headroom: float = field(default=HEADROOM, kw_only=True)
    scope: str = field(default="channel", kw_only=True)
    spikes_per_range: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_headroom(name, self.headroom)
        if self.scope not in self.scopes():
            raise ConversionError(
                f"{name}.scope is {self.scope!r}; expected one of {self.scopes()}"
            )
        count = self.spikes_per_range
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise ConversionError(f"{name}.spikes_per_range is {count!r}; expected an int or None")
        if count is not None and count < 1:
            raise ConversionError(f"{name}.spikes_per_range is {count}; expected >= 1 or None")

    @classmethod
    def scopes(cls) -> tuple[str, ...]:
        """The scopes that it knows."""
        return SCOPES

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set every neuron's threshold from one pass over the data.

        Raises:
            ConversionError: see ``collect``.
        """
        neurons = network.neurons
        known = {name for name, neuron in neurons.items() if known_range(neuron) is not None}
        found = collect(network, batches, progress, known)  # counting takes most of the time
        for name in neurons:
            if name not in known:
                warn_if_silent(name, found[name].maximum)
        if self.scope == "layer":
            found = {name: histogram.merged() for name, histogram in found.items()}
        elif self.scope == "model":
            found = _pooled_by_kind(neurons, found)
        for name, neuron in neurons.items():
            span = self._range(neuron, found[name]).expand(neuron.channels)
            fit_threshold(neuron, span / self.per_range(neuron))

    def per_range(self, neuron: NeuronLayer) -> int:
        """Spikes in one timestep that make up a layer's range."""
        return self.spikes_per_range or neuron.max_up

    def relu_range(self, histogram: ChannelHistogram, neuron: NeuronLayer) -> Tensor:
        """The range to represent for each channel, [C], from the currents above 0."""
        raise TypeError(f"{type(self).__name__} does not say which range a ReLU needs")

    def linear_range(self, histogram: ChannelHistogram) -> Tensor:
        """The unit of a linear quantity's range, [C], from the currents' magnitudes."""
        return histogram.maximum

    def _range(self, neuron: NeuronLayer, histogram: ChannelHistogram) -> Tensor:
        known = known_range(neuron)
        if known is not None:
            return torch.full_like(histogram.maximum, known)
        if neuron.low == 0:
            return filled(self.relu_range(histogram, neuron))
        return filled(self.linear_range(histogram) * self.headroom)


def _pooled_by_kind(
    neurons: dict[str, NeuronLayer], found: dict[str, ChannelHistogram]
) -> dict[str, ChannelHistogram]:
    """One histogram for all ReLUs, one for all linear quantities."""
    shared: dict[bool, ChannelHistogram] = {}
    for kind in (False, True):
        members = [
            found[name].merged()
            for name, neuron in neurons.items()
            if (neuron.low == 0) == kind and known_range(neuron) is None
        ]
        shared[kind] = pooled(members or list(found.values())).merged()
    return {name: shared[neuron.low == 0] for name, neuron in neurons.items()}


def known_range(neuron: NeuronLayer) -> float | None:
    """The largest magnitude of an activation that is bounded, such as 6; None for the others.

    One finite end is not enough: ``clamp(x, min=-0.2)`` has no bound above.
    """
    ends = (abs(neuron.low), abs(neuron.high))
    return max(ends) if all(map(math.isfinite, ends)) else None


def filled(span: Tensor) -> Tensor:
    """Ranges with the largest one where nothing was seen (0), any shape; 1 if nothing was."""
    largest = span.max()
    return torch.where(span > 0, span, torch.where(largest > 0, largest, torch.ones_like(largest)))


def warn_if_silent(name: str, largest: Tensor) -> None:
    """Warn of a layer without any current above 0: it is silent at any threshold."""
    if not bool((largest > 0).any()):
        warnings.warn(
            f"layer '{name}' never fires on the calibration data: no current above 0 in any "
            "channel. It stays silent on such images; if that surprises you, pass more images, or "
            "check their normalisation and the model's weights",
            stacklevel=3,
        )


def fit_threshold(neuron: NeuronLayer, threshold: Tensor, start: float = 0.0) -> None:
    """Give a neuron layer a threshold and nothing that was fitted to another one.

    Args:
        neuron: changed in place.
        threshold: [C] or [C, ...], activation units; any dtype and device.
        start: v0 as a fraction of it.
    """
    theta = neuron.threshold.new_empty(threshold.shape).copy_(threshold)
    neuron.threshold.data, neuron.v0.data = theta, theta * start
    neuron.correction.data = theta.new_zeros(0, neuron.channels)


def check_headroom(owner: str, headroom: float) -> None:
    """Raise ConversionError unless it is a factor >= 1."""
    if not headroom >= 1:
        raise ConversionError(f"{owner}.headroom is {headroom!r}; expected a factor >= 1")


def check_timesteps(owner: str, timesteps: object) -> None:
    """Raise ConversionError unless a pass that works for one T got it."""
    if isinstance(timesteps, bool) or not isinstance(timesteps, int) or timesteps < 1:
        raise ConversionError(
            f"{owner}.timesteps is {timesteps!r}; expected an int >= 1: this pass adjusts the "
            "network for one T, for example to_snn(…, timesteps=16)"
        )
