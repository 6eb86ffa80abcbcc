"""One correction current per channel."""

from dataclasses import dataclass

from spikeport.calibration.layerwise import LayerwisePass, NeuronView


@dataclass(frozen=True)
class ChannelBias(LayerwisePass):
    """Shifts each channel's current by the mean of what its emission lacks.

    Li et al. 2021, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", light pipeline: ``b_c += mean(a − r)`` over images and positions, r the mean
    emission over T timesteps. It writes ``neuron.correction``, the same row for every timestep.
    """

    def adjust(self, view: NeuronView) -> None:
        """Add this portion's share of the running mean."""
        neuron = view.neuron
        if view.portion == 1:
            neuron.correction.data = neuron.threshold.new_zeros(self.timesteps, neuron.channels)
        rate = view.channel_means(view.emitted().mean(0))
        missing = view.channel_means(view.target) - rate
        neuron.correction.data += missing / view.portion
