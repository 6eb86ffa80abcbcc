"""What all threshold passes share: known ranges, head-room, silent channels."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram, collect
from spikeport.convert import ConversionError, SpikingNetwork, SpikingNeuron


@dataclass(frozen=True)
class ThresholdPass:
    """Base of the passes that set thresholds; a subclass says which range a ReLU's channel needs.

    A range that is known (ReLU6: 6) is used as it is: statistics of few images would narrow it. A
    linear quantity (bottleneck) gets its largest magnitude times ``headroom``, per channel. A
    ReLU's channel that is silent on the calibration data gets its layer's largest range. The
    threshold is the range divided by ``max_up``.

    Attributes:
        headroom: factor on the calibration maximum of linear quantities.
    """

    headroom: float = 1.2

    def __post_init__(self) -> None:
        if not self.headroom >= 1:
            raise ConversionError(
                f"{type(self).__name__}.headroom is {self.headroom!r}; expected a factor >= 1"
            )

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set every neuron's threshold from one pass over the data.

        Raises:
            ConversionError: see ``collect``; or a layer that never fires on the calibration data.
        """
        found = collect(network, batches, progress)
        for name, neuron in network.neurons.items():
            span = self._range(name, neuron, found[name])
            neuron.threshold.data.copy_(span / neuron.max_up)

    def relu_range(self, histogram: ChannelHistogram, max_up: int) -> Tensor:
        """The range to represent for each channel, [C], from the currents above 0."""
        raise TypeError(f"{type(self).__name__} does not say which range a ReLU needs")

    def _range(self, name: str, neuron: SpikingNeuron, histogram: ChannelHistogram) -> Tensor:
        known = [abs(end) for end in (neuron.low, neuron.high) if end and math.isfinite(end)]
        if known:
            return torch.full_like(histogram.maximum, max(known))
        if not bool((histogram.maximum > 0).any()):
            raise ConversionError(
                f"layer '{name}' never fires on the calibration data: no current above 0 in any "
                "channel. Pass more images, or check their normalisation and the model's weights."
            )
        if neuron.low == 0:
            span = self.relu_range(histogram, neuron.max_up)
        else:
            span = histogram.maximum * self.headroom
        return torch.where(span > 0, span, span.max())
