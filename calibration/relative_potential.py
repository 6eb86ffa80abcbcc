"""Initial potentials that make a layer's channels fall short alike."""

from dataclasses import dataclass

from spikeport.calibration.layerwise import LayerwisePass, NeuronView


@dataclass(frozen=True)
class RelativePotential(LayerwisePass):
    """Adds to v0 what a channel's emission lacks, measured against what the whole layer emits.

    As ``PotentialCorrection`` (Li et al. 2021, "A Free Lunch From ANN", potential calibration), but
    with another target. In the first timesteps a deep layer emits less than its source, and
    making up for all of it there would have later layers overshoot. A network of ReLUs gives the
    same answer if a layer's channels are all short by the same factor, so the emission r over T
    timesteps is compared with the activation a times the layer's ``s = Σ r·a / Σ a²``:
    ``v0_c += T·mean_c(s·a − r)``. What is left are spikes that came from noise around a current
    below 0, and inputs that were late on one side. Linear quantities are passed over: their
    neurons take all of it back. Ours; ``enough`` images, since a channel has many positions.
    Made for ``BiasOnset`` before it, in the same forward. A second run starts from the first
    one's potentials; ``InitialPotential`` starts afresh.
    """

    enough = 12

    def adjust(self, view: NeuronView) -> None:
        """Add this portion's share of the running mean."""
        neuron, memory = view.neuron, view.memory
        if neuron.low < 0:
            return
        emitted, target = view.emitted().mean(0), view.target
        memory["both"] = memory.get("both", 0.0) + (emitted * target).sum()
        memory["source"] = memory.get("source", 0.0) + target.square().sum()
        factor = memory["both"] / memory["source"].clamp_min(1e-30)
        share = view.channel_means(factor * target - emitted) * (self.timesteps / view.portion)
        if neuron.v0.ndim > 1:
            share = neuron.per_channel(share, target)[0]
        neuron.v0.data = neuron.v0.detach() + share
