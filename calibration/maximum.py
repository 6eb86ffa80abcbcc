"""Threshold = largest activation."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram, magnitude, watch_currents
from spikeport.calibration.threshold import (
    SCOPES,
    ThresholdPass,
    filled,
    fit_threshold,
    known_range,
    warn_if_silent,
)
from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork


@dataclass(frozen=True)
class MaxThreshold(ThresholdPass):
    """θ·max_up = the largest activation on the calibration data.

    Diehl et al. 2015, "Fast-classifying, high-accuracy spiking deep networks through weight and
    threshold balancing" (data-based normalisation: λ_l = max a_l), is scope "layer"; the channel
    normalisation of Kim et al. 2020, "Spiking-YOLO", is "channel". The scope "neuron" is the
    neuron-wise normalisation of Wang et al. 2022, "Signed Neuron with Memory": the largest
    activation at each position, which ties the network to one size of images and to torch.
    """

    @classmethod
    def scopes(cls) -> tuple[str, ...]:
        """The scopes that it knows."""
        return (*SCOPES, "neuron")

    def relu_range(self, histogram: ChannelHistogram, neuron: NeuronLayer) -> Tensor:
        """[C], activation units."""
        return histogram.maximum

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """See ``ThresholdPass``."""
        if self.scope == "neuron":
            self._per_neuron(network, batches, progress)
        else:
            super().__call__(network, batches, progress)

    def _per_neuron(self, network: SpikingNetwork, batches: Iterable[Any], progress: bool) -> None:
        neurons, largest = network.neurons, dict[str, Tensor]()

        def add(name: str, current: Tensor) -> None:
            most = magnitude(neurons[name], current).amax(0)
            known = largest.get(name, most)
            if known.shape != most.shape:
                raise ConversionError(
                    f"layer '{name}' has the shape {list(most.shape)} for one batch and "
                    f"{list(known.shape)} for another; a threshold for every neuron needs images "
                    "of one size, scope='channel' does not"
                )
            largest[name] = torch.maximum(known, most)

        watch_currents(network, batches, add, progress)
        for name, neuron in neurons.items():
            span, known = largest[name], known_range(neuron)
            if known is not None:
                span = torch.full_like(span, known)
            elif neuron.low != 0:
                span = span * self.headroom
            warn_if_silent(name, span)
            span = filled(span if span.ndim else span[None])
            fit_threshold(neuron, span / self.per_range(neuron))
