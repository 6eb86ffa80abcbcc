"""Threshold = a high percentile of the activations."""

from dataclasses import dataclass, field

from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram
from spikeport.calibration.threshold import ThresholdPass
from spikeport.convert import ConversionError, NeuronLayer


@dataclass(frozen=True)
class PercentileThreshold(ThresholdPass):
    """θ·max_up = a percentile of the activations above 0.

    Rueckauer et al. 2017, "Conversion of Continuous-Valued Deep Networks to Efficient
    Event-Driven Networks for Image Classification" (robust normalisation, λ_l = the 99.9th
    percentile); there it is one for a layer, scope "layer". Zeros are not counted: they would push
    the percentile of a sparse channel into its body.

    Attributes:
        percentile: in (0, 100].
        linear_percentile: the same for the magnitudes of linear quantities, in (0, 100]; 100 is
            the largest one.
    """

    percentile: float = 99.9
    linear_percentile: float = field(default=100.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("percentile", "linear_percentile"):
            value = getattr(self, name)
            if not 0 < value <= 100:
                raise ConversionError(
                    f"PercentileThreshold.{name} is {value!r}; expected 0 < p <= 100"
                )

    def relu_range(self, histogram: ChannelHistogram, neuron: NeuronLayer) -> Tensor:
        """[C], activation units."""
        return histogram.percentile(self.percentile)

    def linear_range(self, histogram: ChannelHistogram) -> Tensor:
        """[C], activation units."""
        return histogram.percentile(self.linear_percentile)
