"""Threshold = what many more images would reach."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeport.calibration.statistics import ChannelHistogram
from spikeport.calibration.threshold import ThresholdPass
from spikeport.convert import NeuronLayer

TOP = 10  # largest values that show a channel's tail
FEW = 10 * TOP  # values above 0 below which they do not


@dataclass(frozen=True)
class ReachThreshold(ThresholdPass):
    """θ·max_up = the largest activation that ten times the data would be expected to show.

    What lies beyond a range is clipped at any T. A percentile clips on purpose, and the largest
    value of the calibration data is surpassed by other data, the sooner the fewer values a channel
    has. In an exponential tail (the common limit of light ones, Pickands 1975, "Statistical
    Inference Using Extreme Order Statistics") the largest of k·n values lies above the largest of n
    by as much as that lies above the k-th largest: range = x₁ + (x₁ − x₁₀). A channel with too few
    values to tell gets its layer's median range at least. Ours; for networks whose output is read
    as values, since classes mind a little clipping less than coarse steps.
    """

    def relu_range(self, histogram: ChannelHistogram, neuron: NeuronLayer) -> Tensor:
        """[C], activation units."""
        below = (histogram.counts.sum(1) - TOP).clamp_min(0)
        place = (histogram.counts.cumsum(1) < below[:, None]).sum(1)
        tenth = (place * histogram.width).minimum(histogram.maximum)
        reach = 2 * histogram.maximum - tenth
        untold = (histogram.counts.sum(1) < FEW) & (reach > 0)
        return torch.where(untold, reach.maximum(reach.median()), reach)
