"""Threshold of the quantiser that suits a normal distribution best."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikeport.calibration.statistics import by_channel, watch_currents
from spikeport.calibration.threshold import (
    HEADROOM,
    check_headroom,
    check_timesteps,
    filled,
    fit_threshold,
    known_range,
    warn_if_silent,
)
from spikeport.convert import SpikingNetwork

ITERATIONS = 100
STARTS = 48
TAIL = 8.0  # standard deviations above the mean that a range may reach


@dataclass(frozen=True)
class GaussianThreshold:
    """θ minimises the expected squared error of the quantiser if currents are normal.

    Huang et al. 2025, "Differential Coding for Training-Free ANN-to-SNN Conversion" (threshold
    iteration): mean μ and standard deviation σ of each channel's current from one pass over the
    data, then ``θ ← θ·k(θ, μ, σ, N)``. Derived for a quantiser that rounds to the multiples
    0, δ, …, N·δ of its step, N = T·max_up and θ = T·δ, of x⁺ with x ~ N(μ, σ²): multiple k stands
    for the x above a_k = (k − ½)·δ and below a_{k+1}, the last for all above a_N. Summing by parts,
    with the tails Q(a) = P(x > a) and M(a) = E[x; x > a] = μ·Q(a) + σ·φ((a − μ)/σ), the error is

        E(δ) = E[(x⁺)²] − 2·δ·Σ_k M(a_k) + δ²·Σ_k (2k − 1)·Q(a_k),  k = 1…N.

    With the a_k held fixed it is least at δ = Σ M(a_k) / Σ (2k − 1)·Q(a_k); with δ held fixed no
    a_k is better than (k − ½)·δ. So the iteration δ ← Σ M / Σ (2k − 1)·Q never raises E. There
    can be several minima: it starts from the best of a row of ranges.

    The paper counts N = T·2^n levels where n thresholds make max_up = 2^(n-1). Known ranges are
    used as they are, and linear quantities get their largest magnitude times ``headroom``.

    Attributes:
        timesteps: the T to optimise for, >= 1.
        headroom: factor on the largest magnitude of linear quantities, >= 1.
    """

    timesteps: int = 0
    headroom: float = field(default=HEADROOM, kw_only=True)

    def __post_init__(self) -> None:
        check_timesteps("GaussianThreshold", self.timesteps)
        check_headroom("GaussianThreshold", self.headroom)

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set every neuron's threshold from one pass over the data.

        Raises:
            ConversionError: unusable data.
        """
        neurons = network.neurons
        found = {name: Moments(neuron.channels) for name, neuron in neurons.items()}

        def add(name: str, current: Tensor) -> None:
            found[name].add(by_channel(neurons[name], current))

        watch_currents(network, batches, add, progress)
        for name, neuron in neurons.items():
            moments, known = found[name], known_range(neuron)
            if known is not None:
                span = torch.full_like(moments.highest, known)
            elif neuron.low != 0:
                span = torch.maximum(moments.highest, -moments.lowest) * self.headroom
            else:
                levels = self.timesteps * neuron.max_up
                span = best_range(moments.mean, moments.deviation, levels)
                span = torch.where(moments.highest > 0, span, torch.zeros_like(span))
            warn_if_silent(name, span)
            fit_threshold(neuron, filled(span) / neuron.max_up)


class Moments:
    """Mean, deviation and extremes of each channel, in one pass over the data.

    Attributes:
        count: values of each channel so far.
        mean: [C], float64.
        squares: sum of squared deviations from the mean, [C].
        lowest: [C].
        highest: [C].
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)
        self.lowest = torch.full((channels,), math.inf, dtype=torch.float64)
        self.highest = torch.full((channels,), -math.inf, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Take in [C, N] values (Chan et al. 1983: updates that do not cancel)."""
        values = values.to("cpu", torch.float64)
        fresh, count = values.shape[1], self.count + values.shape[1]
        mean = values.mean(1)
        shift = mean - self.mean
        self.squares += (values - mean[:, None]).square_().sum(1)
        self.squares += shift.square() * (self.count * fresh / count)
        self.mean += shift * (fresh / count)
        self.lowest = torch.minimum(self.lowest, values.amin(1))
        self.highest = torch.maximum(self.highest, values.amax(1))
        self.count = count

    @property
    def deviation(self) -> Tensor:
        """Standard deviation, [C]."""
        return (self.squares / max(self.count, 1)).sqrt()


def best_range(mean: Tensor, deviation: Tensor, levels: int) -> Tensor:
    """The range N·δ of least error for each channel, [C], float64; 0 where nothing is above 0.

    Args:
        mean: μ of the current, [C], float64.
        deviation: σ, [C].
        levels: N.
    """
    deviation = deviation.clamp_min(1e-9 * (1 + mean.abs()))
    top = mean.clamp_min(0) + TAIL * deviation
    best, least = top / levels, torch.full_like(top, math.inf)
    for share in range(1, STARTS + 1):
        step = top * (share / STARTS / levels)
        first, second = _sums(step, mean, deviation, levels)
        error = step * (step * second - 2 * first)
        best, least = torch.where(error < least, step, best), torch.minimum(error, least)
    for _ in range(ITERATIONS):
        first, second = _sums(best, mean, deviation, levels)
        last, best = best, torch.where(second > 1e-30, first / second, torch.zeros_like(best))
        if bool((best - last).abs().le(1e-4 * last).all()):
            break
    return best * levels


def _sums(step: Tensor, mean: Tensor, deviation: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Σ M(a_k) and Σ (2k − 1)·Q(a_k), [C]."""
    odd = 2 * torch.arange(1, levels + 1, dtype=step.dtype) - 1
    beta = (step[:, None] * odd / 2 - mean[:, None]) / deviation[:, None]
    tail = torch.special.erfc(beta / math.sqrt(2)) / 2
    density = torch.exp(-beta.square() / 2) / math.sqrt(2 * math.pi)
    first = mean * tail.sum(1) + deviation * density.sum(1)
    return first, (tail * odd).sum(1)
