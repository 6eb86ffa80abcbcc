"""Thresholds that move with what they cut off."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikeport.calibration.statistics import by_channel, require_finite
from spikeport.calibration.substitute import activations
from spikeport.calibration.threshold import (
    HEADROOM,
    check_headroom,
    filled,
    fit_threshold,
    known_range,
    warn_if_silent,
)
from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.inputs import Input


@dataclass(frozen=True)
class LocalThresholdBalancing:
    """θ_c += η·2·mean((z − θ_c)⁺) while the network computes clip(z, 0, θ_c), starting from 0.

    Bu et al. 2025, "Inference-Scale Complexity in ANN-SNN Conversion for High-Performance and
    Low-Power Applications": the gradient step of the local loss mean((z − clip(z, 0, θ))²), per
    channel, in plain inference; the data are gone through as often as the iterations need. A layer
    learns only once those before it let something through, so that few iterations leave the deep
    ones far too low. Known ranges are used as they are (the paper learns ReLU6's, too), and linear
    quantities, which the paper leaves analog, get their largest magnitude times ``headroom``. The
    paper's delayed readout is no matter of thresholds and not part of this.

    Attributes:
        iterations: batches to infer, >= 1; the paper's are 1000 to 5000.
        rate: η, in (0, 1].
        headroom: factor on the largest magnitude of linear quantities, >= 1.
    """

    iterations: int = 1000
    rate: float = 1.0
    headroom: float = field(default=HEADROOM, kw_only=True)

    def __post_init__(self) -> None:
        count = self.iterations
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConversionError(
                f"LocalThresholdBalancing.iterations is {count!r}; expected an int >= 1"
            )
        if not 0 < self.rate <= 1:
            raise ConversionError(
                f"LocalThresholdBalancing.rate is {self.rate!r}; expected 0 < η <= 1"
            )
        check_headroom("LocalThresholdBalancing", self.headroom)

    @torch.no_grad()
    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set every neuron's threshold.

        Raises:
            ConversionError: unusable data.
        """
        neurons = network.neurons
        ranges = {name: n.threshold.new_zeros(n.channels) for name, n in neurons.items()}
        balanced = {name: self._balance(n, ranges[name]) for name, n in neurons.items()}
        with activations(network, balanced):
            for images in _repeated(network, batches, self.iterations, progress):
                network.analog(images)
        for name, neuron in neurons.items():
            require_finite(name, ranges[name])
            warn_if_silent(name, ranges[name])
            fit_threshold(neuron, filled(ranges[name]) / neuron.max_up)

    def _balance(self, neuron: NeuronLayer, span: Tensor) -> Callable[[Tensor], Tensor]:
        """An activation that updates the range [C], in place, whenever it is evaluated."""
        dtype = span.dtype

        def of_relu(z: Tensor) -> Tensor:
            excess = (z - neuron.per_channel(span, z)).clamp_min_(0)
            span.add_(by_channel(neuron, excess).mean(1).to(dtype), alpha=2 * self.rate)
            return z.clamp_min(0).minimum(neuron.per_channel(span, z))

        def of_linear(z: Tensor) -> Tensor:
            torch.maximum(span, by_channel(neuron, z.abs()).amax(1) * self.headroom, out=span)
            return z

        known = known_range(neuron)
        if known is not None:
            span.fill_(known)
            return lambda z: z.clamp(neuron.low, neuron.high)
        return of_relu if neuron.low == 0 else of_linear


def _repeated(
    network: SpikingNetwork, batches: Iterable[Any], iterations: int, progress: bool
) -> Iterator[Input]:
    """Images of as many batches as wanted, from the start again when the data end."""
    bar = tqdm(
        total=iterations, desc="balancing thresholds", unit="batch", delay=2, disable=not progress
    )
    done = 0
    with bar:
        while True:
            for batch in stream(batches, "", progress=False):
                yield network.take_apart(batch).x
                bar.update()
                done += 1
                if done == iterations:
                    return
