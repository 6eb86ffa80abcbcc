"""Passes that set thresholds, potentials and corrections from calibration data; their recipes."""

from spikeport.calibration.best_of import BestOf
from spikeport.calibration.bias_onset import BiasOnset
from spikeport.calibration.bias_over_time import BiasOverTime
from spikeport.calibration.channel_bias import ChannelBias
from spikeport.calibration.delayed_readout import DelayedReadout
from spikeport.calibration.gaussian import GaussianThreshold
from spikeport.calibration.initial_potential import InitialPotential
from spikeport.calibration.layerwise import LayerwisePass, NeuronView, WeightedView
from spikeport.calibration.level_budget import LevelBudget
from spikeport.calibration.local_balancing import LocalThresholdBalancing
from spikeport.calibration.maximum import MaxThreshold
from spikeport.calibration.mean_squared_error import MeanSquaredErrorThreshold
from spikeport.calibration.output_error import OutputErrorThreshold
from spikeport.calibration.percentile import PercentileThreshold
from spikeport.calibration.potential_correction import PotentialCorrection
from spikeport.calibration.reach import ReachThreshold
from spikeport.calibration.recipes import RECIPES, Recipe, calibrate, check_recipe
from spikeport.calibration.relative_potential import RelativePotential
from spikeport.calibration.spike_norm import SpikeNorm
from spikeport.calibration.threshold_tuning import ThresholdTuning
from spikeport.calibration.weight_calibration import WeightCalibration

__all__ = [
    "RECIPES",
    "BestOf",
    "BiasOnset",
    "BiasOverTime",
    "ChannelBias",
    "DelayedReadout",
    "GaussianThreshold",
    "InitialPotential",
    "LayerwisePass",
    "LevelBudget",
    "LocalThresholdBalancing",
    "MaxThreshold",
    "MeanSquaredErrorThreshold",
    "NeuronView",
    "OutputErrorThreshold",
    "PercentileThreshold",
    "PotentialCorrection",
    "ReachThreshold",
    "Recipe",
    "RelativePotential",
    "SpikeNorm",
    "ThresholdTuning",
    "WeightCalibration",
    "WeightedView",
    "calibrate",
    "check_recipe",
]
