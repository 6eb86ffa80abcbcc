"""Threshold = the one whose quantiser is nearest to the activations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram
from spikeport.calibration.threshold import ThresholdPass, check_timesteps
from spikeport.convert import NeuronLayer

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
        check_timesteps("MeanSquaredErrorThreshold", self.timesteps)

    def relu_range(self, histogram: ChannelHistogram, neuron: NeuronLayer) -> Tensor:
        """[C], activation units."""
        levels, most = self.timesteps * self.per_range(neuron), self.timesteps * neuron.max_up
        best = histogram.maximum.clone()
        least = torch.full_like(best, torch.inf)
        centers, counts = histogram.centers, histogram.counts
        for index in range(CANDIDATES):
            span = histogram.maximum * (1 - 0.01 * index)
            step = (span / levels).clamp_min(1e-300)[:, None]
            quantized = (centers / step).round_().clamp_(max=most) * step
            error = ((quantized - centers).square_() * counts).sum(1)
            best = torch.where(error < least, span, best)
            least = torch.minimum(error, least)
        return best
