"""Thresholds and initial potentials that bring the network's answers nearest to its source's."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikeport.calibration.best_of import distances
from spikeport.calibration.substitute import activations
from spikeport.calibration.threshold import fit_threshold
from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.inputs import Input

AT_ONCE = 8  # images whose activations are kept for a gradient
SMALLEST = 0.125  # range, relative to the one at the start; the largest is the start's double
OFFSET = 0.45  # largest distance of v0 from half a threshold, in thresholds


@dataclass(frozen=True)
class ThresholdTuning:
    """Gradient steps on all thresholds and v0 at once, for the answers of the whole network.

    With capacity to spare, a neuron's mean emission is its activation rounded to a level of its
    range r: ``r/N·clamp(round(N·z/r + o), ±N)``, where v0 = (1/2 + o)·θ. The network of these
    quantizers is fitted in r and o, per channel, with rounding as the identity in the gradient
    (Esser et al. 2020, "Learned Step Size Quantization"). The loss is ``1 − cos`` of the answer and
    the source network's, each less its mean over the classes. Ours: it needs no labels, and the
    weights stay. A layer's own error does not show what an error does to the answer: in
    EfficientNet-Lite0 the first activation alone makes a third of it.

    It starts from the present thresholds, so that another threshold pass has to come first, and
    drops corrections. Known ranges (ReLU6) are tuned as the others are, and few images are soon
    learnt by heart: with 152 for EfficientNet-Lite0 the loss fell from 0.039 to 0.020 on them, on
    others from 0.031 to 0.025, and at 64 levels, for which it was not tuned, it rose.

    Attributes:
        levels: N, >= 2: about T·max_up, less the timesteps until spikes have come through.
        epochs: how often the data are gone through, >= 1.
        rate: of Adam on log r and o, in (0, 1); it falls to 0.
    """

    levels: int = 26
    epochs: int = 4
    rate: float = 0.02

    def __post_init__(self) -> None:
        for name, least in (("levels", 2), ("epochs", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConversionError(
                    f"ThresholdTuning.{name} is {value!r}; expected an int >= {least}"
                )
        if not 0 < self.rate < 1:
            raise ConversionError(f"ThresholdTuning.rate is {self.rate!r}; expected 0 < rate < 1")

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set every neuron's threshold and v0.

        Raises:
            ConversionError: a neuron without a threshold, no data or unusable data.
        """
        network.check_calibrated()
        quantizers = {
            name: _Quantizer(neuron, self.levels) for name, neuron in network.neurons.items()
        }
        parts = [
            part
            for batch in stream(batches, "reading images", progress)
            for part in network.take_apart(batch).x.split(AT_ONCE)
        ]
        values = [value for one in quantizers.values() for value in (one.log_range, one.offset)]
        optimizer = torch.optim.Adam(values, self.rate, (0.9, 0.99))
        steps = self.epochs * len(parts)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        order = _shuffled(len(parts), self.epochs)
        for place in tqdm(order, desc="tuning thresholds", delay=2, disable=not progress):
            loss = _distance(network, parts[place], quantizers)
            for value, slope in zip(values, torch.autograd.grad(loss, values), strict=True):
                value.grad = slope
            optimizer.step()
            falling.step()
            for one in quantizers.values():
                one.clamp()
        for one in quantizers.values():
            one.write()


def _shuffled(count: int, times: int) -> list[int]:
    """0 to count − 1 several times, in another order each time, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(count, generator=generator) for _ in range(times)]
    return [int(place) for order in orders for place in order]


def _distance(
    network: SpikingNetwork, images: Input, quantizers: dict[str, "_Quantizer"]
) -> Tensor:
    """The loss on some images."""
    with torch.no_grad():
        expected = network.analog(images)
    with torch.enable_grad(), activations(network, quantizers):
        return distances(network.analog(images), expected).mean()


class _Quantizer:
    """A neuron layer's mean emission as a differentiable function.

    Attributes:
        log_range: log of max_up·θ, [C].
        offset: v0/θ − 1/2, [C].
    """

    def __init__(self, neuron: NeuronLayer, levels: int) -> None:
        self.neuron, self.levels = neuron, levels
        theta = neuron.threshold.detach()
        self.start = (theta * neuron.max_up).log()
        self.log_range = self.start.clone().requires_grad_()
        self.offset = (neuron.v0.detach() / theta - 0.5).requires_grad_()

    def __call__(self, current: Tensor) -> Tensor:
        """[B, ...] to [B, ...], activation units."""
        neuron = self.neuron
        span = neuron.per_channel(self.log_range.exp(), current)
        offset = neuron.per_channel(self.offset, current)
        return _Rounded.apply(current, span, offset, (neuron.low, neuron.high), self.levels)

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep to what the images can tell."""
        self.log_range.clamp_(self.start + math.log(SMALLEST), self.start + math.log(2))
        self.offset.clamp_(-OFFSET, OFFSET)

    def write(self) -> None:
        """Give the neuron its threshold and v0."""
        fit_threshold(self.neuron, self.log_range.detach().exp() / self.neuron.max_up)
        self.neuron.v0.data = self.neuron.threshold * (self.offset.detach() + 0.5)


class _Rounded(torch.autograd.Function):
    """``r/N·round(N·x/r + o)`` of x in the range r and in the activation's; offsets below 1/2.

    By hand, because torch's own gradient of it takes most of the time of a step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        span: Tensor,
        offset: Tensor,
        ends: tuple[float, float],
        levels: int,
    ) -> Tensor:
        """[B, ...] to [B, ...]; span and offset broadcast against it."""
        low, high = ends
        least = (-span).clamp_min(low) if low < 0 else torch.zeros_like(span)
        inside = current.clamp(least, span.clamp_max(high))
        out = (inside * (levels / span)).add_(offset).round_().mul_(span / levels)
        ctx.save_for_backward(inside, out, inside == current, span)
        ctx.levels = levels
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """Rounding and what it added count as constants; what is beyond r moves with r."""
        inside, out, kept, span = ctx.saved_tensors
        beyond = inside.abs() >= span
        by_span = (out - inside.masked_fill(beyond, 0.0)).mul_(slope).sum_to_size(span.shape)
        by_offset = slope.sum_to_size(span.shape) * (span / ctx.levels)
        return slope * kept, by_span / span, by_offset, None, None
