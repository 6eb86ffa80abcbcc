"""Threshold = the one whose neuron comes nearest to the source on the spikes that it gets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeport.calibration.layerwise import LayerwisePass, NeuronView
from spikeport.calibration.threshold import fit_threshold, known_range
from spikeport.convert import ConversionError

FACTORS = tuple(round(1 - 0.05 * i, 2) for i in range(19))  # 1.0, 0.95, …, 0.1


@dataclass(frozen=True)
class OutputErrorThreshold(LayerwisePass):
    """θ_c minimises the mean of (mean emission over T timesteps − source's activation)².

    The criterion of Li et al. 2021, "A Free Lunch From ANN" (MMSE threshold), on the neuron
    itself: it is simulated on the current of the spikes that it really gets, so that the choice
    weighs what comes too early, and what cannot be taken back, along with clipping and
    quantisation. Candidates are fractions of the present thresholds, so that another threshold
    pass has to come first; the errors add up over the portions of the data. Known ranges are used
    as they are.

    Attributes:
        factors: on the present thresholds, each in (0, 2].
        fraction: v0 of all candidates in thresholds, in [0, 1).
    """

    factors: tuple[float, ...] = FACTORS
    fraction: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factors or not all(0 < factor <= 2 for factor in self.factors):
            raise ConversionError(
                f"OutputErrorThreshold.factors is {self.factors!r}; expected numbers in (0, 2]"
            )
        if not 0 <= self.fraction < 1:
            raise ConversionError(
                f"OutputErrorThreshold.fraction is {self.fraction!r}; expected 0 <= fraction < 1"
            )

    def adjust(self, view: NeuronView) -> None:
        """Add this portion's errors and take the best candidate so far."""
        neuron, memory = view.neuron, view.memory
        if known_range(neuron) is not None:
            fit_threshold(neuron, neuron.threshold, self.fraction)
            return
        start: Tensor = memory.setdefault("start", neuron.threshold.detach().clone())
        found = []
        for factor in self.factors:
            fit_threshold(neuron, start * factor, self.fraction)
            error = (view.emitted().mean(0) - view.target).square_()
            found.append(view.channel_means(error).double() * len(error))
        memory["errors"] = memory.get("errors", 0.0) + torch.stack(found)
        best = start.new_tensor(self.factors)[memory["errors"].argmin(0)]
        if start.ndim != 1:
            best = neuron.per_channel(best, start[None])[0]
        fit_threshold(neuron, start * best, self.fraction)
