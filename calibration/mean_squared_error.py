"""Threshold = the one whose quantiser is nearest to the activations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram
from spikeport.calibration.threshold import ThresholdPass
from spikeport.convert import ConversionError

CANDIDATES = 95


@dataclass(frozen=True)
class MeanSquaredErrorThreshold(ThresholdPass):
    """θ minimises the mean squared error of the quantiser with ``timesteps · max_up`` levels.

    Li et al. 2021, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration": per channel, over the ranges max·(1 − 0.01·i), i < 95. With a half-threshold
    initial potential the quantiser rounds to nearest.

    Attributes:
        timesteps: the T to optimise for, >= 1.
    """

    timesteps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            isinstance(self.timesteps, bool)
            or not isinstance(self.timesteps, int)
            or self.timesteps < 1
        ):
            raise ConversionError(
                f"MeanSquaredErrorThreshold.timesteps is {self.timesteps!r}; expected an int >= 1:"
                " this pass optimises for one T, for example to_snn(…, timesteps=16)"
            )

    def relu_range(self, histogram: ChannelHistogram, max_up: int) -> Tensor:
        """[C], activation units."""
        levels = self.timesteps * max_up
        best = histogram.maximum.clone()
        least = torch.full_like(best, torch.inf)
        centres, counts = histogram.centres, histogram.counts
        for index in range(CANDIDATES):
            span = histogram.maximum * (1 - 0.01 * index)
            step = (span / levels).clamp_min(1e-300)[:, None]
            quantised = (centres / step).round_().clamp_(max=levels) * step
            error = ((quantised - centres).square_() * counts).sum(1)
            best = torch.where(error < least, span, best)
            least = torch.minimum(error, least)
        return best
