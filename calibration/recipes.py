"""The recipes by name, and the one function that runs them."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from spikeport.calibration.default_recipes import OURS
from spikeport.calibration.initial_potential import InitialPotential
from spikeport.calibration.maximum import MaxThreshold
from spikeport.calibration.mean_squared_error import MeanSquaredErrorThreshold
from spikeport.calibration.percentile import PercentileThreshold
from spikeport.calibration.published import PUBLISHED
from spikeport.calibration.recipe import Pass, Recipe, run_passes
from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.calibration_images import CalibrationData
from spikeport.convert.task import Task, check_task, task_of

__all__ = ["RECIPES", "Pass", "Recipe", "calibrate", "check_recipe"]

# "max", "percentile" and "mse" are building blocks for any neuron, the papers' are complete
RECIPES = {
    **OURS,
    "max": Recipe(
        "Diehl et al. 2015, data-based normalisation, per channel; half-threshold start",
        lambda network, T: [MaxThreshold(), InitialPotential()],
    ),
    "percentile": Recipe(
        "Rueckauer et al. 2017, robust normalisation, per channel; half-threshold start",
        lambda network, T: [PercentileThreshold(), InitialPotential()],
    ),
    "mse": Recipe(
        "Li et al. 2021, MMSE thresholds for one T; half-threshold start",
        lambda network, T: [MeanSquaredErrorThreshold(timesteps=T), InitialPotential()],
        for_one_T=True,
    ),
    **PUBLISHED,
}


def check_recipe(recipe: str | Sequence[Pass], timesteps: int | None = None) -> None:
    """Refuse what ``calibrate`` would refuse, before any data is read.

    Raises:
        ConversionError: an unknown name, or a recipe for one T without ``timesteps``.
    """
    if not isinstance(recipe, str):
        return
    if recipe not in RECIPES:
        raise ConversionError(
            f"unknown recipe {recipe!r}; expected one of {sorted(RECIPES)} or a list of passes "
            "such as [PercentileThreshold(99.9), InitialPotential()]"
        )
    if RECIPES[recipe].for_one_T and timesteps is None:
        raise ConversionError(
            f"recipe {recipe!r} adjusts the network for one T; pass timesteps=T, for example "
            f"to_snn(…, recipe={recipe!r}, timesteps=16)"
        )


def calibrate(
    network: SpikingNetwork,
    batches: Iterable[Any],
    recipe: str | Sequence[Pass] = "default",
    timesteps: int | None = None,
    progress: bool = True,
    task: Task | None = None,
) -> None:
    """Run a recipe on a converted network, in place, and note it in ``network.info``.

    The images are noted too, by digests of their content: ``sweep`` and ``cost`` leave them out.

    Neighbouring layerwise passes for the same T share one forward over the data.

    Args:
        network: from ``build``, ``to_snn`` or ``load``.
        batches: list or DataLoader of tensors [B, C, ...] or (tensor, labels) pairs.
        recipe: a name in RECIPES or a list of passes.
        timesteps: the T to calibrate for, where the recipe depends on it.
        progress: show bars for what takes longer than two seconds.
        task: what the output is used as, noted as ``network.info["task"]``: "classification", class
            scores [B, classes] of which the largest counts, or "values". None keeps what is noted;
            where nothing is, class labels in the first batch make an output [B, K] class scores.

    Raises:
        ConversionError: see ``check_recipe`` and the passes; an unknown task.
    """
    check_recipe(recipe, timesteps)
    check_task(task)
    network.info["task"] = task or network.info.get("task") or _seen_task(network, batches)
    if isinstance(recipe, str):
        passes = RECIPES[recipe].passes(network, timesteps or 0)
    else:
        passes = list(recipe)
    network.readout_delay = 0.0  # unless a pass sets it
    data = CalibrationData(network, batches)
    run_passes(network, data, passes, progress)
    data.note()
    network.info["recipe"] = recipe if isinstance(recipe, str) else "custom"
    network.info["passes"] = [repr(one) for one in passes]
    depends = [
        one.timesteps
        for one in passes
        if hasattr(one, "timesteps") and getattr(one, "for_one_T", True)
    ]
    aim = depends[0] if depends else None
    if isinstance(recipe, str) and (depends or RECIPES[recipe].for_one_T):
        aim = timesteps  # a pass may look at fewer
    network.info["calibrated_for_timesteps"] = aim


def _seen_task(network: SpikingNetwork, batches: Iterable[Any]) -> Task | None:
    """The task that the labels of the first batch show; None where they show none."""
    batch = network.take_apart(next(stream(batches, "", progress=False)))
    network.check_input(batch.x)
    with torch.no_grad():
        return task_of(network.analog(batch.x), batch)
