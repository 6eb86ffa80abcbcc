"""Our own recipes: for a user who does not want to choose, who is in a hurry, who can wait."""

import math

from spikeport.calibration.best_of import BestOf
from spikeport.calibration.bias_onset import BiasOnset
from spikeport.calibration.bias_over_time import BiasOverTime
from spikeport.calibration.delayed_readout import DelayedReadout
from spikeport.calibration.gaussian import GaussianThreshold
from spikeport.calibration.initial_potential import InitialPotential
from spikeport.calibration.mean_squared_error import MeanSquaredErrorThreshold
from spikeport.calibration.percentile import PercentileThreshold
from spikeport.calibration.reach import ReachThreshold
from spikeport.calibration.recipe import Pass, Recipe
from spikeport.calibration.relative_potential import RelativePotential
from spikeport.calibration.threshold_tuning import ThresholdTuning
from spikeport.convert import SpikingNetwork

# bottlenecks by percentile: nearer logits on 100 images of EfficientNet-Lite0, while its accuracy
# on 250 (another draw) did not tell this from the largest magnitude
FAST: list[Pass] = [
    PercentileThreshold(headroom=1.0, linear_percentile=99.9),
    InitialPotential(),
]


# nothing is clipped for good: for outputs that are read as values
UNCLIPPED: list[Pass] = [ReachThreshold(), InitialPotential()]

# share of a window in which spikes come through a deep network, for which thresholds are tuned
USEFUL = 0.8
# timesteps after which spikes have come through: in EfficientNet-Lite0, what a layer lacks at its
# first timestep has fallen to a few hundredths, the noise of the estimate, after 16
ARRIVED = 32


def _default(network: SpikingNetwork, T: int) -> list[Pass]:
    """The passes for what the network is made of and for the T asked for (0: none)."""
    if not T:
        return _for_any_T(network)
    if _is_differential(network):  # the paper's, the best on both networks of docs/methods
        return [GaussianThreshold(timesteps=T)]
    if _is_coarse(network):  # spikes are late rather than biased
        window: list[Pass] = [] if _takes_back(network) else [DelayedReadout(0.375)]
        return [*FAST, *_onset(network, T), *window] if _most(network) == 1 else FAST
    corrected: list[Pass] = [
        MeanSquaredErrorThreshold(timesteps=T),
        InitialPotential(),
        BiasOverTime(timesteps=T),
    ]
    return corrected if _takes_back(network) else [*corrected, DelayedReadout(0.25)]


def _for_any_T(network: SpikingNetwork) -> list[Pass]:
    """The passes for runs of 8 timesteps as of 1,000.

    Thresholds clip where the output is class scores, of which a few per mille of the activations
    change little, and finer steps help at few timesteps; they do not where the answer is values.
    What mends the late start of a deep network is over after ARRIVED timesteps; it makes of it a
    smaller copy of the source network, which class scores do not mind and values do.
    """
    task = network.info.get("task")
    thresholds = FAST if task == "classification" else UNCLIPPED
    if task == "values" or _is_differential(network) or not _is_late(network):
        return thresholds
    window: list[Pass] = [] if _takes_back(network) else [DelayedReadout(0.375)]
    return [*thresholds, *_onset(network, ARRIVED), *window]


def _is_late(network: SpikingNetwork) -> bool:
    """Whether single spikes of coarse thresholds go through so many layers that they come late."""
    return _is_coarse(network) and _most(network) == 1 and len(network.neurons) >= ARRIVED


def _takes_back(network: SpikingNetwork) -> bool:
    """Whether ReLUs' neurons can take spikes back; a window keeps the taking back alone."""
    return any(n.model.takes_back and n.low == 0 for n in network.neurons.values())


def _is_differential(network: SpikingNetwork) -> bool:
    return any(neuron.model.sends_corrections for neuron in network.neurons.values())


def _onset(network: SpikingNetwork, T: int) -> list[Pass]:
    """Passes that mend the first timesteps; with several spikes each there is little to mend."""
    if _most(network) > 1:
        return []
    start = min(T, ARRIVED)
    return [BiasOnset(timesteps=start), RelativePotential(timesteps=start)]


def _is_coarse(network: SpikingNetwork) -> bool:
    """Whether thresholds are coarse in a deep network: known ranges (ReLU6), linear bottlenecks."""
    return any(
        neuron.low < 0 or (neuron.low == 0 and math.isfinite(neuron.high))
        for neuron in network.neurons.values()
    )


def _most(network: SpikingNetwork) -> int:
    """Most spikes of any neuron in a timestep, either way."""
    return max(max(neuron.max_up, neuron.max_down) for neuron in network.neurons.values())


def _best(network: SpikingNetwork, T: int) -> list[Pass]:
    """The choice on held-out images; with tuned thresholds that of the readout's delay."""
    if _is_coarse(network):
        levels = max(2, round(USEFUL * T * _most(network)))
        tuned = [*FAST, ThresholdTuning(levels, epochs=2), *_onset(network, T)]
        return tuned if _takes_back(network) else [BestOf(T, (tuple(tuned),))]
    squared: list[Pass] = [MeanSquaredErrorThreshold(timesteps=T), InitialPotential()]
    candidates = (
        tuple(FAST),
        (*FAST, BiasOnset(timesteps=T)),
        (*FAST, BiasOverTime(timesteps=T)),
        (*squared, BiasOverTime(timesteps=T)),
    )
    return [BestOf(T, candidates)]


OURS = {
    "default": Recipe(
        "without a T, percentile thresholds (for values instead of class scores: thresholds that "
        "do not clip) and, in deep networks of known ranges, biases that start with their input; "
        "with a T, by the kind of network and neuron: "
        "least squared error thresholds and a bias for every timestep (ReLU), known ranges, biases "
        "that start with their input and potentials relative to the layer (ReLU6, linear "
        "bottlenecks), thresholds for normal currents (differential coding), "
        "a delayed readout for neurons that cannot take back",
        _default,
    ),
    "fast": Recipe(
        "one pass over the data: 99.9th percentile per channel (bottlenecks too), half-threshold "
        "initial potential",
        lambda network, T: FAST,
    ),
    "best": Recipe(
        "thresholds tuned by gradient (ReLU6, linear bottlenecks), or several lists of passes "
        "tried on a quarter of the images that they have not seen",
        _best,
        for_one_T=True,
    ),
}
