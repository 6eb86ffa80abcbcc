"""A correction current for every timestep and channel."""

from dataclasses import dataclass

from spikeport.calibration.layerwise import LayerwisePass, NeuronView
from spikeport.convert import ConversionError


@dataclass(frozen=True)
class BiasOverTime(LayerwisePass):
    """Makes each channel's mean emission at each timestep that of the source's activation.

    Wu et al. 2024, "FTBC: Forward Temporal Bias Correction for Optimizing ANN-SNN Conversion": at
    timestep t, ``b[t, c] += α·mean(a − s[t]·θ)`` over the images and positions, then the layer
    integrates with the new b and goes on to t + 1. Over the portions of the data the corrections
    are averaged. It writes ``neuron.correction``, T numbers per channel.

    Attributes:
        gain: α, in (0, 1].
    """

    gain: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gain <= 1:
            raise ConversionError(f"BiasOverTime.gain is {self.gain!r}; expected 0 < gain <= 1")

    def adjust(self, view: NeuronView) -> None:
        """Go through the timesteps once, correcting each before the next."""
        neuron, rows = view.neuron, len(view.current)
        if view.portion == 1:
            neuron.correction.data = neuron.threshold.new_zeros(rows, neuron.channels)
        wanted = view.channel_means(view.target)
        state = None
        for time in range(rows):
            now = view.current[time : time + 1]
            emitted, _ = neuron(now, state)
            missing = wanted - view.channel_means(emitted)[0]
            neuron.correction.data[time] += (self.gain / view.portion) * missing
            _, state = neuron(now, state)
