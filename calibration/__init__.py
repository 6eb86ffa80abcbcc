"""Passes that set thresholds and potentials from calibration data, and recipes of them."""

from spikeport.calibration.initial_potential import InitialPotential
from spikeport.calibration.maximum import MaxThreshold
from spikeport.calibration.mean_squared_error import MeanSquaredErrorThreshold
from spikeport.calibration.percentile import PercentileThreshold
from spikeport.calibration.recipes import RECIPES, Recipe, calibrate, passes_of

__all__ = [
    "RECIPES",
    "InitialPotential",
    "MaxThreshold",
    "MeanSquaredErrorThreshold",
    "PercentileThreshold",
    "Recipe",
    "calibrate",
    "passes_of",
]
