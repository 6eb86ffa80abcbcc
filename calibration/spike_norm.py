"""Thresholds from the currents that spikes make, layer after layer."""

from dataclasses import dataclass, field

from spikeport.calibration.layerwise import LayerwisePass, NeuronView
from spikeport.calibration.statistics import magnitude
from spikeport.calibration.threshold import (
    HEADROOM,
    check_headroom,
    fit_threshold,
    known_range,
    warn_if_silent,
)


@dataclass(frozen=True)
class SpikeNorm(LayerwisePass):
    """θ_l·max_up = the largest current of any neuron of layer l at any timestep.

    Sengupta et al. 2019, "Going Deeper in Spiking Neural Networks: VGG and Residual Architectures"
    (Spike-Norm, hard reset), and Han et al. 2020, "RMP-SNN: Residual Membrane Potential Neuron"
    (the same threshold, soft reset): layer after layer, each on the spikes of those before it. The
    papers' rules for residual branches follow from values that are carried scaled by θ. Known
    ranges are used as they are and linear quantities get head-room, as in every threshold pass.
    With several portions of data a layer sees the thresholds that those before it have so far.

    Attributes:
        timesteps: simulated to find the maximum, >= 1; the thresholds then serve every T.
        headroom: factor on the largest magnitude of linear quantities, >= 1.
    """

    headroom: float = field(default=HEADROOM, kw_only=True)
    sets_thresholds = True
    for_one_T = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_headroom("SpikeNorm", self.headroom)

    def adjust(self, view: NeuronView) -> None:
        """Raise the threshold to what this portion needs."""
        neuron = view.neuron
        factor = 1.0 if neuron.low == 0 else self.headroom
        found = magnitude(neuron, view.current).amax() * factor
        if not bool(found > 0):  # no spike has come this far, or it only inhibits
            found = magnitude(neuron, view.source_current).amax() * factor
        largest = max(view.memory.get("largest", 0.0), float(found))
        known = known_range(neuron)
        if known is None:
            warn_if_silent(view.name, found.new_tensor(largest))
        view.memory["largest"] = largest
        span = neuron.threshold.new_full((neuron.channels,), known or largest or 1.0)
        fit_threshold(neuron, span / neuron.max_up)
