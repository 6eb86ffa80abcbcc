"""The one call: load, trace, replace, calibrate."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from spikeport.calibration.recipes import RECIPES, Pass, calibrate, check_recipe
from spikeport.convert import (
    KINDS,
    ConversionError,
    SpikingNetwork,
    build,
    neuron_model,
    reloading,
)
from spikeport.convert.batches import stream
from spikeport.convert.first_batch import taken_for
from spikeport.convert.inputs import Input
from spikeport.convert.neurons import NeuronModel
from spikeport.convert.saving.container import warn_if_unsavable
from spikeport.convert.simulation.early_exit import is_scores
from spikeport.convert.task import Task, check_task
from spikeport.convert.tracing.source_check import check_source, is_file
from spikeport.report.inspecting import inspect as inspecting
from spikeport.report.inspecting.inspection import Inspection
from spikeport.zoo.checkpoints import is_classifier, load_model
from spikeport.zoo.images import input_config
from spikeport.zoo.timm_layers import simplify


def to_snn(
    model: nn.Module | str,
    data: Iterable[Any],
    neuron: str | NeuronModel | None = None,
    recipe: str | Sequence[Pass] = "default",
    timesteps: int | None = None,
    *,
    checkpoint: str | None = None,
    analog_bottlenecks: bool = False,
    task: Task | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """Convert a trained network to a spiking one and calibrate it.

    Args:
        model: an ``nn.Module`` in eval mode, never modified; or the name of a timm or torchvision
            model ("resnet18.a1_in1k", "torchvision/resnet18").
        data: calibration batches: a list or DataLoader of float tensors [B, C, ...], of
            (tensor, labels) pairs, or of dicts of the forward's arguments such as ``input_ids`` and
            ``attention_mask``; see ``convert.batches``. Labels are not used.
        neuron: a name in ``spikeport.convert.KINDS`` ("if", "burst", "signed", "multi-level", …)
            text such as "8:8" or "mt:4", or a model such as ``Neuron(max_up=4, max_down=4)``; by
            default the recipe's own, or "signed" where the recipe leaves it open.
        recipe: a name in ``spikeport.RECIPES`` or a list of calibration passes.
        timesteps: the T to calibrate for, for recipes that depend on it.
        checkpoint: weights for a named model, see ``load_model``; by default the hub's.
        analog_bottlenecks: leave linear bottlenecks analog (their successors then multiply at
            every timestep) instead of giving them signed neurons.
        task: what the output is used as: "classification", class scores of which the largest
            counts, or "values". By default a model of timm or torchvision with class scores
            [B, K] is a classifier, and so is another whose calibration batches come with class
            labels. See ``calibrate``.
        progress: show bars for what takes longer than two seconds.

    Returns:
        The spiking network. Its ``info`` tells how it was made.

    Raises:
        ConversionError: an unknown neuron or recipe, a model that cannot be converted (the message
            lists every obstacle with its module path), unusable calibration data. What can be
            refused is refused before the data is read.

    Warns:
        UserWarning: a part that keeps the network from being saved, by name, before calibration.
    """
    check_recipe(recipe, timesteps)
    check_task(task)
    if neuron is None:
        own = RECIPES[recipe].neuron if isinstance(recipe, str) else None
        neuron = own or KINDS["signed"]
    fires = neuron_model(neuron)
    by_name = isinstance(model, str) and not is_file(model)
    source = model if isinstance(model, str) else type(model).__name__
    if isinstance(model, str) and by_name:
        model = load_model(model, checkpoint)
    elif checkpoint is not None:
        raise ConversionError(
            f"checkpoint={checkpoint!r} goes with a model's name; this {source} has its weights"
        )
    model = check_source(model)
    example = taken_for(next(stream(data, "", progress=False)), model).x.detach()
    with tqdm(total=1, desc=f"tracing {source}", leave=False, disable=not progress) as bar:
        network = build(model, example, fires, analog_bottlenecks, simplify)
        bar.update()
    network.info.update(
        source=source,
        by_name=by_name,
        checkpoint=checkpoint,
        neuron=repr(fires),
        neuron_label=fires.label,
        analog_bottlenecks=analog_bottlenecks,
    )
    if hasattr(model, "pretrained_cfg"):
        network.info["input"] = input_config(model)
    warn_if_unsavable(network)
    if task is None and is_classifier(model) and _returns_scores(network, example):
        task = "classification"
    calibrate(network, data, recipe, timesteps, progress, task)
    return network


@torch.no_grad()
def _returns_scores(network: SpikingNetwork, example: Input) -> bool:
    return is_scores(network.analog(example[:2]))


def load_source(snn: SpikingNetwork, model: nn.Module | str | PathLike[str]) -> None:
    """Put the weights of a fine-tuned source network into its conversion, in place.

    Batch norms are folded and branches merged on the way. Thresholds stay as they were calibrated;
    see ``spikeport.convert.reloading.load_source``.

    Args:
        snn: made by ``to_snn`` or loaded from a file.
        model: the source architecture with the new weights
            (``model.load_state_dict(checkpoint)``), in eval mode; never modified. Or the file of a
            checkpoint, if the network was converted by name; see ``load_model``.

    Raises:
        ConversionError: the model has another structure than the one that was converted; a file,
            and the network was converted from a module.
        ValueError: the file's weights do not fit the model.
    """
    if not isinstance(model, nn.Module):
        if not snn.info.get("by_name"):
            raise ConversionError(
                f"the network was converted from a {snn.info.get('source', 'module')}, not by "
                f"name, so that {str(model)!r} cannot be read into it; pass the module with the "
                "new weights"
            )
        model = load_model(snn.info["source"], model)
    reloading.load_source(snn, model, simplify)


def inspect(
    snn: SpikingNetwork,
    data: Iterable[Any],
    timesteps: int | None = None,
    reference: nn.Module | None = None,
    progress: bool = True,
) -> Inspection:
    """Say which layers make the output error, how, and what would mend it.

    See ``inspect`` in ``spikeport.report.inspecting`` for what is measured and ``Inspection`` for
    what comes out.

    Args:
        snn: converted and calibrated.
        data: a few images, 8 to 32, as a list or DataLoader of batches [B, C, ...] or of pairs
            (images, labels). Labels are not used.
        timesteps: T; by default the one that the network was calibrated for, otherwise 16.
        reference: the source model in eval mode, never modified. With it wrong weights and
            operations are found too.
        progress: show a bar when it takes longer than two seconds.

    Raises:
        ConversionError: unusable data, timesteps < 1, an uncalibrated network, a reference of
            another structure.
    """
    return inspecting.inspect(snn, data, timesteps, reference, simplify, progress)
