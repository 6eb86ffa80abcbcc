"""The one call: a converted network in, a fine-tuned one out."""

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from spikeport.calibration import calibrate, check_recipe
from spikeport.convert import KINDS, ConversionError, SpikingNetwork, processes
from spikeport.convert.batches import check_data
from spikeport.convert.inputs import Input
from spikeport.convert.saving.container import load, save
from spikeport.convert.saving.digest import digest
from spikeport.finetune.gradient.batch_norms import keep_norms
from spikeport.finetune.neuron.trainable import make_trainable
from spikeport.finetune.trainable_view import require_constant
from spikeport.finetune.training.data import Data, Teacher, check_teacher
from spikeport.finetune.training.evaluation import has_targets, known_labels
from spikeport.finetune.training.folder import TrainingFolder
from spikeport.finetune.training.losses import WeightedSum, default_losses
from spikeport.finetune.training.plan import FineTuning
from spikeport.finetune.training.timestep_schedule import TimestepSchedule
from spikeport.finetune.training.training import SpikingTraining

CALIBRATION_IMAGES = 1024  # of the training data, to fit thresholds and norms to
START = "start.snn"


def finetune(
    snn: SpikingNetwork,
    loader: Iterable[Any],
    timesteps: int | Sequence[int],
    epochs: int = 5,
    teacher: Teacher | None = None,
    *,
    plan: FineTuning | None = None,
    validation: Iterable[Any] | None = None,
    output: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[dict[str, float], SpikingNetwork], None] | None = None,
    progress: bool = True,
) -> SpikingNetwork:
    """Train a converted network's weights, thresholds and initial potentials for few timesteps.

    Thresholds are first fitted to the target T by calibration passes. Under ``torchrun``, with
    ``torch.distributed`` initialised, every process passes its share of the data (see
    ``finetune.distributed.loader``), and all return the same network.

    Args:
        snn: from ``to_snn`` or ``load``, on the device to train on; not modified.
        loader: list or DataLoader of batches, see ``convert.batches``: (images [B, C, ...], labels
            [B]), (images, targets of any kind) for a loss of your own, or images alone; labels
            that are all below 0 are none. A stream without a length is read once more to count
            its batches.
        timesteps: T; or several, of which each step draws one (mixed timesteps).
        epochs: >= 1.
        teacher: the source network in eval mode, or any function from images to answers like the
            network's; distilled from, and compared with where there are no labels.
        plan: losses, gradient, learning rates and so on; by default ``FineTuning()``.
        validation: batches to measure on after every epoch, like ``loader``.
        output: folder for the log (log.csv) and the state after each epoch; called again with the
            same arguments, a stopped training goes on and ends with the same numbers.
        on_epoch: called after every epoch with its row of the log and the network as it is then,
            converted.
        progress: show bars.

    Returns:
        A converted network, frozen, for every backend; ``info["finetuned"]`` tells how. The
        caller's random generators stay as they are.

    Raises:
        ConversionError: arguments that do not go together, unusable data, neurons that cannot be
            trained, an ``output`` of another training or a damaged one, a loss that is no longer
            finite, no compiler for ``plan.compiled``.
        OSError: the state cannot be written.
    """
    plan = plan or FineTuning()
    schedule = TimestepSchedule.of(timesteps, epochs, plan.anneal_from)
    _check(snn, loader, teacher, validation, plan)
    if plan.recipe is not None:
        check_recipe(plan.recipe, schedule.first)
    data = Data(loader, validation, teacher, snn, plan.select)
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        first = data.first()
        classes = data.classes(first)
        has = {
            "scores": classes is not None,
            "labels": known_labels(first, classes) is not None,
            "targets": has_targets(first.target),
            "teacher": teacher is not None,
        }
        if plan.losses is None:
            plan = replace(plan, losses=default_losses(**has))
        _check_losses(plan, has, snn)
        files = _Files(output, data, schedule, plan)
        start = files.network_at_start() or _fitted(snn, loader, plan, schedule.first, progress)
        start = processes.from_first(start)
        files.keep_start(start)
        network = make_trainable(start, plan.surrogate, plan.leak == "learn")
        if plan.norm != "folded":
            images_of_norms = _first_images(loader, network)
            quantized = plan.method == "quantized"
            keep_norms(network, images_of_norms, schedule.first, plan.norm, quantized)
        training = SpikingTraining(network, schedule, plan, data, classes, progress)
        if files.state is not None:
            training.restore(files.state)

        def after_epoch() -> None:
            files.keep(training)
            if on_epoch is not None:
                on_epoch(dict(training.rows[-1]), training.result())

        training.run(after_epoch)
        result = training.result(best=plan.patience is not None)
    result.info["finetuned"] = _described(schedule, plan)
    return result


def _described(schedule: TimestepSchedule, plan: FineTuning) -> str:
    """The call, as one can write it again."""
    timesteps = schedule.choices if len(schedule.choices) > 1 else schedule.choices[0]
    return f"finetune(timesteps={timesteps}, epochs={schedule.epochs}, plan={plan})"


def _check(
    snn: Any, loader: Any, teacher: Any, validation: Iterable[Any] | None, plan: FineTuning
) -> None:
    if not isinstance(snn, SpikingNetwork):
        raise ConversionError(
            f"finetune takes a SpikingNetwork, not a '{type(snn).__name__}'; make one with to_snn"
        )
    require_constant(snn)
    check_data(loader)
    if validation is not None:
        check_data(validation)
    if plan.patience is not None and validation is None:
        raise ConversionError("patience needs validation data to measure on; pass validation=")
    check_teacher(teacher)
    _check_leak(snn, plan.leak)
    if plan.method == "quantized":
        _check_quantized(snn)


def _check_leak(snn: SpikingNetwork, leak: float | str | None) -> None:
    for name, neuron in snn.neurons.items():
        fires = neuron.model.staircase()
        if leak is not None and (fires is None or fires.leak is None):
            raise ConversionError(
                f"leak={leak!r}, but layer '{name}' has {neuron.model.label} neurons, "
                'which have no leak; convert with Neuron, such as neuron="if"'
            )


def _check_quantized(snn: SpikingNetwork) -> None:
    for name, neuron in snn.neurons.items():
        if neuron.model.summed(1) is None:
            fitting = [repr(kind) for kind, model in KINDS.items() if model.summed(1) is not None]
            raise ConversionError(
                f"layer '{name}': method=\"quantized\" needs neurons whose spikes of T timesteps "
                f"are a staircase, not {neuron.model.label}; convert with neuron="
                f"{' or '.join(fitting)}"
            )


WANTED = {
    "scores": "answers that are class scores, [B, K] with K >= 2; take a loss of your own, as "
    "losses=[nn.MSELoss()], or select= the part of the answer that is",
    "labels": "class labels; pass pairs (images, labels [B])",
    "targets": "targets; pass pairs (images, targets)",
    "teacher": "a teacher; pass teacher=the source network",
}


def _check_losses(plan: FineTuning, has: dict[str, bool], snn: SpikingNetwork) -> None:
    losses = WeightedSum(plan.terms)
    reading = losses.needs("activations")
    if reading and "finetuned" in snn.info:
        raise ConversionError(
            f"{', '.join(reading)} need(s) the source network's activations, and this network's "
            "weights were fine-tuned before; leave it out, or start from the converted network"
        )
    for what, advice in WANTED.items():
        wanting = losses.needs(what)
        if wanting and not has[what]:
            raise ConversionError(f"{', '.join(wanting)} need(s) {advice}")


def _fitted(
    snn: SpikingNetwork,
    loader: Iterable[Any],
    plan: FineTuning,
    timesteps: int,
    progress: bool,
) -> SpikingNetwork:
    """A copy with thresholds for T."""
    network = copy.deepcopy(snn)
    if plan.recipe is not None and processes.is_first():
        calibrate(network, _first_images(loader, network), plan.recipe, timesteps, progress)
    return network


def _first_images(loader: Iterable[Any], network: SpikingNetwork) -> list[Input]:
    """Batches to fit thresholds and norms to, where the network is."""
    images: list[Input] = []
    for batch in loader:
        images.append(network.take_apart(batch).x)
        if sum(map(len, images)) >= CALIBRATION_IMAGES:
            break
    return images


class _Files:
    """The folder of a training, if it has one; only the first process reads and writes.

    Args:
        output: the folder.
        data: what is learned from, and the network that is fine-tuned.
        schedule: of the timesteps.
        plan: how, with its losses decided on.

    Attributes:
        state: of a training that was stopped; None where a new one begins.

    Raises:
        ConversionError: the folder is that of another training, or damaged.
    """

    def __init__(
        self, output: Any, data: Data, schedule: TimestepSchedule, plan: FineTuning
    ) -> None:
        self.folder = None if output is None else TrainingFolder(output)
        self.state: dict[str, Any] | None = None
        self.identity: dict[str, Any] = {}
        if self.folder is None:
            return
        self.identity = {
            "plan": _described(schedule, plan),
            "network": digest(data.source.state_dict()),
            **data.identity(plan.seed),
        }
        problem = None
        try:
            self.state = self.folder.state(self.identity) if processes.is_first() else None
        except ConversionError as error:
            problem = str(error)
        problem, self.state = processes.from_first((problem, self.state))
        if problem:
            raise ConversionError(problem)

    def network_at_start(self) -> SpikingNetwork | None:
        """The network that a stopped training began with, in the first process."""
        if self.folder is None or self.state is None or not processes.is_first():
            return None
        return load(self.folder.path / START)

    def keep_start(self, network: SpikingNetwork) -> None:
        """Write what the training begins with."""
        if self.folder is not None and self.state is None and processes.is_first():
            self.folder.path.mkdir(parents=True, exist_ok=True)
            save(network, self.folder.path / START)

    def keep(self, training: SpikingTraining) -> None:
        """Write the state and the log after an epoch."""
        if self.folder is not None and processes.is_first():
            self.folder.keep(training, self.identity)
