"""The recipes of the papers, each with its neuron; where ours departs from one, it says so.

Common to all: a known range (ReLU6) is used as it is, linear bottlenecks get signed neurons and
head-room, and residual branches need no rule of their own because values are carried scaled by θ.
"""

from spikeport.calibration.bias_over_time import BiasOverTime
from spikeport.calibration.channel_bias import ChannelBias
from spikeport.calibration.gaussian import GaussianThreshold
from spikeport.calibration.initial_potential import InitialPotential
from spikeport.calibration.local_balancing import LocalThresholdBalancing
from spikeport.calibration.maximum import MaxThreshold
from spikeport.calibration.mean_squared_error import MeanSquaredErrorThreshold
from spikeport.calibration.percentile import PercentileThreshold
from spikeport.calibration.potential_correction import PotentialCorrection
from spikeport.calibration.recipe import Recipe
from spikeport.calibration.spike_norm import SpikeNorm
from spikeport.calibration.weight_calibration import WeightCalibration
from spikeport.convert.neurons import KINDS, Neuron

SIMULATED = 128  # timesteps in which Spike-Norm looks for the maximum, unless a T is given
BURST = 99.95  # percentile of Li & Zeng 2022

PUBLISHED = {
    "rueckauer17": Recipe(
        "Rueckauer et al. 2017: 99.9th percentile of each layer, soft reset, potentials from 0",
        lambda network, T: [PercentileThreshold(99.9, scope="layer")],
        neuron=KINDS["if"],
    ),
    "spike-norm": Recipe(
        "Sengupta et al. 2019: largest current of each layer on its spiking input, hard reset",
        lambda network, T: [SpikeNorm(timesteps=T or SIMULATED)],
        neuron=Neuron(hard_reset=True),
    ),
    "rmp": Recipe(
        "Han et al. 2020: largest current of each layer on its spiking input, soft reset",
        lambda network, T: [SpikeNorm(timesteps=T or SIMULATED)],
        neuron=KINDS["if"],
    ),
    "spiking-yolo": Recipe(
        "Kim et al. 2020: largest activation of each channel (their imbalanced thresholds for "
        "leaky ReLUs become signed neurons)",
        lambda network, T: [MaxThreshold()],
        neuron=KINDS["if"],
    ),
    "opi": Recipe(
        "Bu et al. 2022: potentials start at half a threshold (theirs is trained; here the 99.9th "
        "percentile of each layer)",
        lambda network, T: [PercentileThreshold(99.9, scope="layer"), InitialPotential()],
        neuron=KINDS["if"],
    ),
    "free-lunch-light": Recipe(
        "Li et al. 2021, light: least squared error thresholds for one T, bias of each channel",
        lambda network, T: [
            MeanSquaredErrorThreshold(timesteps=T),
            InitialPotential(),
            ChannelBias(timesteps=T),
        ],
        neuron=KINDS["if"],
        for_one_T=True,
    ),
    "free-lunch-advanced": Recipe(
        "Li et al. 2021, advanced: least squared error thresholds for one T, weights by regression "
        "(theirs by Adam), potentials of each channel (theirs of each neuron)",
        lambda network, T: [
            MeanSquaredErrorThreshold(timesteps=T),
            InitialPotential(),
            WeightCalibration(timesteps=T),
            PotentialCorrection(timesteps=T),
        ],
        neuron=KINDS["if"],
        for_one_T=True,
    ),
    "burst": Recipe(
        "Li & Zeng 2022: 99.95th percentile of each layer is one spike, up to five flush the rest",
        lambda network, T: [PercentileThreshold(BURST, scope="layer", spikes_per_range=1)],
        neuron=KINDS["burst"],
    ),
    "spicalib": Recipe(
        "Li et al. 2022: burst neurons that take spikes back after too long a silence",
        lambda network, T: [PercentileThreshold(BURST, scope="layer", spikes_per_range=1)],
        neuron=KINDS["spicalib"],
    ),
    "signed-memory": Recipe(
        "Wang et al. 2022: signed neurons with memory, largest activation of each neuron (ties "
        "the network to one size of images)",
        lambda network, T: [MaxThreshold(scope="neuron")],
        neuron=KINDS["signed"],
    ),
    "local-balance": Recipe(
        "Bu et al. 2025: thresholds balanced in 1,000 inferences, half-threshold start (their "
        "delayed readout is set on the network)",
        lambda network, T: [LocalThresholdBalancing(1000), InitialPotential()],
        neuron=KINDS["if"],
    ),
    "differential": Recipe(
        "Huang et al. 2025: thresholds for normal currents and one T, spikes that correct a mean",
        lambda network, T: [GaussianThreshold(timesteps=T)],
        neuron=KINDS["differential"],
        for_one_T=True,
    ),
    "ftbc": Recipe(
        "Wu et al. 2024: least squared error thresholds and a bias for every timestep",
        lambda network, T: [
            MeanSquaredErrorThreshold(timesteps=T),
            InitialPotential(),
            BiasOverTime(timesteps=T),
        ],
        neuron=KINDS["if"],
        for_one_T=True,
    ),
}
