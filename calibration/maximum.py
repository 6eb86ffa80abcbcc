"""Threshold = largest activation."""

from dataclasses import dataclass

from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram
from spikeport.calibration.threshold import ThresholdPass


@dataclass(frozen=True)
class MaxThreshold(ThresholdPass):
    """θ·max_up = the channel's largest activation on the calibration data.

    Diehl et al. 2015, "Fast-classifying, high-accuracy spiking deep networks through weight and
    threshold balancing" (data-based normalisation), per channel as in Kim et al. 2020,
    "Spiking-YOLO".
    """

    def relu_range(self, histogram: ChannelHistogram, max_up: int) -> Tensor:
        """[C], activation units."""
        return histogram.maximum
