"""Named lists of passes, each with the paper it follows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spikeport.calibration.initial_potential import InitialPotential
from spikeport.calibration.maximum import MaxThreshold
from spikeport.calibration.mean_squared_error import MeanSquaredErrorThreshold
from spikeport.calibration.percentile import PercentileThreshold
from spikeport.convert import ConversionError, SpikingNetwork


class Pass(Protocol):
    """Changes thresholds, potentials, biases or weights; never the graph. Safe to rerun."""

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Apply the pass in place."""


@dataclass(frozen=True)
class Recipe:
    """A named list of passes.

    Attributes:
        source: what it follows.
        passes: the list for a target number of timesteps (None: good at every T).
    """

    source: str
    passes: Callable[[int | None], list[Pass]]


RECIPES = {
    "default": Recipe(
        "99.9th percentile per channel, half-threshold initial potential",
        lambda timesteps: [PercentileThreshold(), InitialPotential()],
    ),
    "max": Recipe(
        "Diehl et al. 2015, data-based normalisation, per channel; half-threshold start",
        lambda timesteps: [MaxThreshold(), InitialPotential()],
    ),
    "percentile": Recipe(
        "Rueckauer et al. 2017, robust normalisation, per channel; half-threshold start",
        lambda timesteps: [PercentileThreshold(), InitialPotential()],
    ),
    "mse": Recipe(
        "Li et al. 2021, MMSE thresholds for one T; half-threshold start",
        lambda timesteps: [
            MeanSquaredErrorThreshold(timesteps=timesteps or 0),
            InitialPotential(),
        ],
    ),
}


def passes_of(recipe: str | Sequence[Pass], timesteps: int | None = None) -> list[Pass]:
    """The passes behind a recipe's name; a list of passes is returned as it is.

    Raises:
        ConversionError: an unknown name, or a recipe for one T without ``timesteps``.
    """
    if not isinstance(recipe, str):
        return list(recipe)
    if recipe not in RECIPES:
        raise ConversionError(
            f"unknown recipe {recipe!r}; expected one of {sorted(RECIPES)} or a list of passes "
            "such as [PercentileThreshold(99.9), InitialPotential()]"
        )
    return RECIPES[recipe].passes(timesteps)


def calibrate(
    network: SpikingNetwork,
    batches: Iterable[Any],
    recipe: str | Sequence[Pass] = "default",
    timesteps: int | None = None,
    progress: bool = True,
) -> None:
    """Run a recipe on a converted network, in place, and note it in ``network.info``.

    Args:
        network: from ``build``, ``to_snn`` or ``load``.
        batches: list or DataLoader of tensors [B, C, ...] or (tensor, labels) pairs.
        recipe: a name in RECIPES or a list of passes.
        timesteps: the T to calibrate for, where the recipe depends on it.
        progress: show bars for what takes longer than two seconds.

    Raises:
        ConversionError: see the passes.
    """
    passes = passes_of(recipe, timesteps)
    for one in passes:
        one(network, batches, progress=progress)
    network.info["recipe"] = recipe if isinstance(recipe, str) else "custom"
    network.info["passes"] = [repr(one) for one in passes]
    depends = [one.timesteps for one in passes if hasattr(one, "timesteps")]
    network.info["calibrated_for_timesteps"] = depends[0] if depends else None
