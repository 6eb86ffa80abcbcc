"""Initial potential from the mean residual."""

from dataclasses import dataclass

from spikeport.calibration.layerwise import LayerwisePass, NeuronView
from spikeport.convert import ConversionError


@dataclass(frozen=True)
class PotentialCorrection(LayerwisePass):
    """Adds to v0 what the emission lacks over all timesteps.

    Li et al. 2021, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", potential calibration: ``v0 += T·mean(a − r)`` over the images, r the mean
    emission over T timesteps. The paper has one for every neuron; one for a channel does not
    depend on the size of the images. A second run starts from the first one's potentials and
    corrects what is left; ``InitialPotential`` starts afresh.

    Attributes:
        scope: "channel" or, as in the paper, "neuron", which ties the network to one size of
            images and to torch.
    """

    scope: str = "channel"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope not in ("channel", "neuron"):
            raise ConversionError(
                f"PotentialCorrection.scope is {self.scope!r}; expected 'channel' or 'neuron'"
            )

    def adjust(self, view: NeuronView) -> None:
        """Add this portion's share of the running mean."""
        neuron, missing = view.neuron, view.target - view.emitted().mean(0)
        start = neuron.v0.detach()
        if self.scope == "neuron" and missing.ndim > 2:  # [B, C] has one neuron in a channel
            share = missing.mean(0)
        else:
            share = view.channel_means(missing)
        if share.ndim < start.ndim:
            share = neuron.per_channel(share, missing)[0]
        elif start.ndim < share.ndim:
            start = neuron.per_channel(start, missing)[0]
        neuron.v0.data = start + share * (self.timesteps / view.portion)
