"""The one call: a converted network in, a fine-tuned one out."""

import copy
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.calibration import calibrate, check_recipe
from spikeport.calibration.recipes import Pass
from spikeport.convert import ConversionError, Neuron, SpikingNetwork, processes
from spikeport.convert.batches import images_and_labels, stream
from spikeport.convert.saving.container import load, save
from spikeport.convert.simulation.input_encoding import Constant
from spikeport.finetune.gradient.batch_norms import keep_norms
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import trainable
from spikeport.finetune.training.checkpoint_files import save_atomically, write_log
from spikeport.finetune.training.evaluation import known_labels
from spikeport.finetune.training.losses import Loss, Sum, default_losses
from spikeport.finetune.training.optimisation import Optimisation
from spikeport.finetune.training.plan import Plan
from spikeport.finetune.training.timestep_schedule import Curriculum
from spikeport.finetune.training.training import Data, Teacher, Training

CALIBRATION_IMAGES = 1024  # of the training data, to fit thresholds and norms to
STATE, LOG, START = "state.pt", "log.csv", "start.snn"


def finetune(
    snn: SpikingNetwork,
    loader: Iterable[Any],
    timesteps: int | Sequence[int],
    epochs: int = 5,
    teacher: Teacher | None = None,
    *,
    losses: Sequence[Loss] | None = None,
    validation: Iterable[Any] | None = None,
    evaluate_at: Sequence[int] | None = None,
    patience: int | None = None,
    recipe: str | Sequence[Pass] | None = "default",
    surrogate: Surrogate | None = None,
    method: str = "bptt",
    chunk: int | None = None,
    anneal_from: int | None = None,
    leak: float | str | None = None,
    norm: str = "folded",
    optimisation: Optimisation | None = None,
    mixed_precision: bool | None = None,
    compiled: bool = False,
    output: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> SpikingNetwork:
    """Train a converted network's weights, thresholds and initial potentials for few timesteps.

    Thresholds are first fitted to the target T by calibration passes. Under ``torchrun``, with
    ``torch.distributed`` initialised, every process passes its share of the data (see
    ``finetune.parallel.loader``), and all return the same network.

    Args:
        snn: from ``to_snn`` or ``load``, on the device to train on; not modified.
        loader: list or DataLoader of (images [B, C, ...], labels [B]), or of images alone; labels
            that are all below 0 are none.
        timesteps: T; or several, of which each step draws one (mixed timesteps).
        epochs: >= 1.
        teacher: the source network in eval mode, or any function from images to logits; distilled
            from, and what answers are compared with where there are no labels.
        losses: terms of ``finetune.losses``; by default ``TET`` where there are labels and
            ``Distillation`` where there is a teacher.
        validation: batches to measure on after every epoch, like ``loader``.
        evaluate_at: the T to measure at; by default ``timesteps``, which are always among them.
        patience: stop after so many epochs without a better accuracy at ``timesteps`` on
            ``validation``, and return the best; None: return the last.
        recipe: calibration recipe or passes for the target T; None keeps the thresholds.
        surrogate: derivative of a spike; by default ``Surrogate()``.
        method: "bptt", "sltt", "ottt" or "quantised", see ``finetune.through_time``.
        chunk: with "bptt": timesteps between the states that are kept, for less memory.
        anneal_from: T of the first epochs, from which it falls to ``timesteps``.
        leak: factor on the potential before each timestep: a number for LIF, reached
            from 1 over the first half; "learn" for parametric LIF, from the present one; None
            keeps it.
        norm: "folded": none, the weights are trained; "batch": a batch norm behind every layer
            that feeds a neuron, folded into the weights at the end; "threshold": one whose gain
            counts in thresholds (tdBN). See ``finetune.norms``.
        optimisation: learning rates and the like; by default ``Optimisation()``.
        mixed_precision: bfloat16 for the layers between neurons and for what neurons emit, while
            potentials, parameters and losses stay in float32; None: on GPUs that have it.
        compiled: neurons by ``torch.compile``, or where it can a quantised network as a whole,
            which takes minutes at first and then less time; and batch norms by torch's kernel where
            one process trains. Sums have another order, so that single spikes may differ from a run
            without it.
        output: folder for the log (log.csv) and the state after each epoch; called again with the
            same arguments, a stopped training goes on and ends with the same numbers.
        seed: of the order of the images and of the T drawn; the caller's generators stay as they
            are.
        progress: show bars.

    Returns:
        A converted network, frozen, for every backend; ``info["finetuned"]`` tells how.

    Raises:
        ConversionError: arguments that do not go together, unusable data, neurons that cannot be
            trained, an ``output`` of another training, a loss that is no longer finite, no compiler
            for ``compiled``.
    """
    curriculum = Curriculum.of(timesteps, anneal_from)
    _check(snn, loader, teacher, validation, patience)
    _check_leak(snn, leak)
    if method == "quantised":
        _check_quantised(snn)
    if recipe is not None:
        check_recipe(recipe, curriculum.first)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        labelled = _labelled(loader)
        plan = Plan(
            curriculum,
            epochs,
            Sum(tuple(default_losses(labelled, teacher is not None) if losses is None else losses)),
            surrogate or Surrogate(),
            optimisation or Optimisation(),
            method,
            chunk,
            leak,
            norm,
            tuple(sorted({*curriculum.choices, *(evaluate_at or ())})),
            patience,
            mixed_precision,
            compiled,
            seed,
        )
        _check_losses(plan, labelled, teacher, snn)
        files = _Files(output, snn, plan, recipe)
        start = files.start() or _fitted(snn, loader, recipe, curriculum.first, progress)
        start = processes.from_first(start)
        files.keep_start(start)
        network = trainable(start, plan.surrogate, leak == "learn")
        if norm != "folded":
            keep_norms(
                network,
                _first_images(loader, network),
                curriculum.first,
                norm,
                method == "quantised",
            )
        data = Data(loader, validation, teacher, snn)
        training = Training(network, plan, data, progress)
        files.restore(training)
        training.run(lambda: files.keep(training))
        result = training.result(best=patience is not None)
    result.info["finetuned"] = repr(plan)
    return result


def _check(
    snn: Any, loader: Any, teacher: Any, validation: Iterable[Any] | None, patience: int | None
) -> None:
    if not isinstance(snn, SpikingNetwork):
        raise ConversionError(
            f"finetune takes a SpikingNetwork, not a '{type(snn).__name__}'; make one with to_snn"
        )
    if not isinstance(snn.encoding, Constant):
        raise ConversionError(
            f"the network's input is presented as {snn.encoding}, and fine-tuning presents it as a "
            "constant current; set snn.encoding = 'constant'"
        )
    if not hasattr(loader, "__len__") or isinstance(loader, Iterator):
        raise ConversionError(
            f"the data is a {type(loader).__name__} without a length or to be read only once; "
            "pass a list of batches or a DataLoader over a data set with a length"
        )
    if isinstance(teacher, nn.Module) and teacher.training:
        raise ConversionError("the teacher is in training mode; call teacher.eval() first")
    if patience is not None and validation is None:
        raise ConversionError("patience needs validation data to measure on; pass validation=")


def _check_leak(snn: SpikingNetwork, leak: float | str | None) -> None:
    for name, neuron in snn.neurons.items():
        if leak is not None and not isinstance(neuron.model, Neuron):
            raise ConversionError(
                f"leak={leak!r}, but layer '{name}' has {type(neuron.model).__name__} neurons, "
                'which have no leak; convert with Neuron, such as neuron="if"'
            )


def _check_quantised(snn: SpikingNetwork) -> None:
    for name, neuron in snn.neurons.items():
        spec = neuron.model
        if not isinstance(spec, Neuron) or spec.hard_reset or spec.leak != 1:
            raise ConversionError(
                f"layer '{name}': method=\"quantised\" needs neurons whose spikes of T timesteps "
                f'are a staircase, not {spec!r}; convert with neuron="if", "burst", "signed" or '
                '"multi-level"'
            )


def _labelled(loader: Iterable[Any]) -> bool:
    return known_labels(next(stream(loader, "", progress=False)))[1] is not None


def _check_losses(plan: Plan, labelled: bool, teacher: Teacher | None, snn: SpikingNetwork) -> None:
    reading = plan.losses.needs("activations")
    if reading and "finetuned" in snn.info:
        raise ConversionError(
            f"{', '.join(reading)} need(s) the source network's activations, and this network's "
            "weights were fine-tuned before; leave it out, or start from the converted network"
        )
    for what, there in (("labels", labelled), ("teacher", teacher is not None)):
        wanting = plan.losses.needs(what)
        if wanting and not there:
            raise ConversionError(
                f"{', '.join(wanting)} need(s) {what}; pass "
                + ("pairs (images, labels)" if what == "labels" else "teacher=the source network")
            )


def _fitted(
    snn: SpikingNetwork,
    loader: Iterable[Any],
    recipe: str | Sequence[Pass] | None,
    timesteps: int,
    progress: bool,
) -> SpikingNetwork:
    """A copy with thresholds for T."""
    network = copy.deepcopy(snn)
    if recipe is not None and processes.is_first():
        calibrate(network, _first_images(loader, network), recipe, timesteps, progress)
    return network


def _first_images(loader: Iterable[Any], network: SpikingNetwork) -> list[Tensor]:
    """Batches to fit thresholds and norms to, where the network is."""
    device = next(network.parameters()).device
    images: list[Tensor] = []
    for batch in loader:
        images.append(images_and_labels(batch)[0].to(device))
        if sum(map(len, images)) >= CALIBRATION_IMAGES:
            break
    return images


class _Files:
    """The folder of a training, if it has one; only the first process writes.

    Args:
        output: the folder.
        snn: what is fine-tuned.
        plan: how.
        recipe: of the calibration.
    """

    def __init__(
        self, output: Any, snn: SpikingNetwork, plan: Plan, recipe: str | Sequence[Pass] | None
    ) -> None:
        self.folder = None if output is None else Path(output)
        digest = hashlib.sha256()
        for value in snn.state_dict().values():
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        self.identity = {"plan": repr(plan), "recipe": repr(recipe), "network": digest.hexdigest()}

    @property
    def state(self) -> Path | None:
        """The file of a state, if one was left."""
        path = None if self.folder is None else self.folder / STATE
        return path if path is not None and path.exists() else None

    def start(self) -> SpikingNetwork | None:
        """The network that a stopped training began with."""
        if self.state is None or self.folder is None:
            return None
        return load(self.folder / START)

    def keep_start(self, network: SpikingNetwork) -> None:
        """Write what the training begins with."""
        if self.folder is not None and self.state is None and processes.is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            save(network, self.folder / START)

    def restore(self, training: Training) -> None:
        """Bring a training to where it was stopped, if there is a state.

        Raises:
            ConversionError: the folder is that of another training.
        """
        if self.state is None:
            return
        kept = torch.load(self.state, map_location=training.device, weights_only=True)
        for name, ours in self.identity.items():
            if kept["identity"][name] != ours:
                raise ConversionError(
                    f"'{self.folder}' is a training with another {name}: {kept['identity'][name]}, "
                    f"not {ours}. Give the same arguments to go on with it, or another folder."
                )
        training.restore(kept["training"])

    def keep(self, training: Training) -> None:
        """Write the state and the log after an epoch."""
        if self.folder is None or not processes.is_first():
            return
        # the log is written from the state, so the two never disagree for longer than a moment
        kept = {"identity": self.identity, "training": training.state()}
        save_atomically(self.folder / STATE, lambda path: torch.save(kept, path))
        save_atomically(self.folder / LOG, lambda path: write_log(path, training.rows))
