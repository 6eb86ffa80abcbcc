"""The loop: a network, its optimiser and its log, as one state that is saved after every epoch."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler
from tqdm import tqdm

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.finetune import distributed as parallel
from spikeport.finetune.gradient.batch_norms import Normalised, fold_norms
from spikeport.finetune.gradient.record import Record
from spikeport.finetune.gradient.through_time import TimeLoop, learn_online
from spikeport.finetune.neuron.trainable import (
    plain,
    takes_images_channels_last,
    trainable_neurons,
)
from spikeport.finetune.training.evaluation import evaluate, known_labels
from spikeport.finetune.training.losses import Target
from spikeport.finetune.training.optimisation import Average
from spikeport.finetune.training.plan import Plan

Teacher = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Data:
    """What a training learns from.

    Attributes:
        batches: re-iterable, with a length: (images, labels), or images alone.
        validation: of the same kind; None: nothing is measured between epochs.
        teacher: gives logits; None: no loss asks for them.
        source: the network before fine-tuning, whose analog reading gives activations.
    """

    batches: Any
    validation: Iterable[Any] | None
    teacher: Teacher | None
    source: SpikingNetwork


class Training:
    """A fine-tuning under way.

    Args:
        network: trainable; changed in place.
        plan: how.
        data: from what.
        progress: show bars.
    """

    def __init__(self, network: SpikingNetwork, plan: Plan, data: Data, progress: bool) -> None:
        self.network, self.plan, self.data = network, plan, data
        self.progress = progress and processes.is_first()
        self.device = next(network.parameters()).device
        set_compiled(network, plan.compiled)
        self.optimiser = plan.optimisation.optimiser(network)
        self.steps = len(data.batches)  # of an epoch
        self.schedule = plan.optimisation.schedule(self.optimiser, plan.epochs * self.steps)
        # the wrapper gives all processes the parameters of the first, which the average copies
        loop = TimeLoop(network, plan.method == "quantised", plan.compiled)
        self.loop = parallel.wrapped(loop)
        decay = plan.optimisation.average
        self.average = None if decay is None else Average(network, decay)
        self.rows: list[dict[str, float]] = []  # one per epoch
        self.best: dict[str, Any] | None = None  # with patience: score, epoch, parameters

    def run(self, after_epoch: Callable[[], None]) -> None:
        """Train to the last epoch, or until patience ends, from wherever the state is.

        Args:
            after_epoch: called after every epoch, to save the state.

        Raises:
            ConversionError: the loss is no longer finite, or unusable data.
        """
        while len(self.rows) < self.plan.epochs and not self._out_of_patience():
            epoch, began = len(self.rows), time.monotonic()
            # A seed per epoch makes the generator's state a function of the epoch: a run that was
            # stopped draws the same numbers without any of it being saved.
            self._seed(self.plan.seed * 10007 + epoch + 1)
            rate = float(self.optimiser.param_groups[0]["lr"])
            row = {"epoch": epoch + 1.0, "learning_rate": rate} | self._epoch(epoch)
            if self.data.validation is not None:
                row |= evaluate(
                    self.result(), self.data.validation, self.plan.evaluate_at, self.data.teacher
                )
            row["seconds"] = time.monotonic() - began
            self.rows.append(row)
            self._remember_best(row)
            after_epoch()

    def result(self, best: bool = False) -> SpikingNetwork:
        """The converted network with the present (averaged) numbers, or the best ones."""
        own = {name: value.clone() for name, value in self.network.state_dict().items()}
        if best and self.best is not None:
            self.network.load_state_dict(self.best["parameters"])
        elif self.average is not None:
            self.network.load_state_dict(self.average.values, strict=False)
        network = fold_norms(plain(self.network))
        self.network.load_state_dict(own)
        return network

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        average = self.average
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if average is None else (average.steps, average.values),
            "rows": self.rows,
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state of a training with the same plan and start."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.steps, self.average.values = state["average"]
        self.rows, self.best = list(state["rows"]), state["best"]

    def _epoch(self, epoch: int) -> dict[str, float]:
        plan = self.plan
        sums: dict[str, float] = {}
        draws = plan.curriculum.of_epoch(epoch, plan.epochs, self.steps, plan.seed)
        name = f"epoch {epoch + 1}/{plan.epochs}"
        batches = zip(self.data.batches, draws, strict=True)
        with tqdm(batches, name, self.steps, disable=not self.progress) as bar:
            for place, (batch, timesteps) in enumerate(bar):
                self._set_progress((epoch * self.steps + place) / (plan.epochs * self.steps))
                for key, value in self._step(batch, timesteps).items():
                    sums[key] = sums.get(key, 0.0) + value
                bar.set_postfix_str(_postfix(sums))
        totals = processes.added(torch.tensor(list(sums.values()), dtype=torch.float64))
        means = dict(zip(sums, totals.tolist(), strict=True))
        images, labelled = means.pop("images"), means.pop("labelled")
        right = means.pop("right")
        row = {key: value / images for key, value in means.items()}
        return row | ({"train_accuracy": 100 * right / labelled} if labelled else {})

    def _set_progress(self, progress: float) -> None:
        leak = self.plan.leak_at(progress)
        for neuron in trainable_neurons(self.network).values():
            neuron.width = self.plan.surrogate.width_at(progress)
            if leak is not None and neuron.leak is not None:
                neuron.leak.data.fill_(leak)

    def _step(self, batch: Any, timesteps: int) -> dict[str, float]:
        """One step of the optimiser; sums over the batch for the log."""
        images, labels = known_labels(batch)
        images = images.to(self.device, memory_format=_memory_format(self.network, images))
        labels = None if labels is None else labels.to(self.device)
        self.optimiser.zero_grad()
        record, loss, terms = self._learn(images, self._target(images, labels), timesteps)
        if not bool(torch.isfinite(loss)):
            rate = self.plan.optimisation.rate
            raise ConversionError(
                f"the loss is {float(loss)} in epoch {len(self.rows) + 1}; fine-tune with a "
                f"learning rate below {rate}, as Optimisation(rate={rate / 10:g})"
            )
        parameters = [value for group in self.optimiser.param_groups for value in group["params"]]
        if self.plan.optimisation.clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.plan.optimisation.clip)
        self.optimiser.step()
        self.schedule.step()
        for neuron in trainable_neurons(self.network).values():
            neuron.project()
        if self.average is not None:
            self.average.update(self.network)
        means = {"timesteps": float(timesteps), "loss": float(loss)}
        means |= {name: float(value) for name, value in terms.items()}
        means["firing_rate"] = float(record.firing_rate.detach().mean())
        right = 0 if labels is None else int((record.answer.argmax(1) == labels).sum())
        counts = {"images": len(images), "labelled": 0 if labels is None else len(images)}
        return (
            {key: value * len(images) for key, value in means.items()} | counts | {"right": right}
        )

    def _learn(
        self, images: Tensor, target: Target, timesteps: int
    ) -> tuple[Record, Tensor, dict[str, Tensor]]:
        """Set the gradients; the record, the loss and its terms."""
        found: list[Any] = []

        def loss(record: Record) -> Tensor:
            found[:] = self.plan.losses(record, target)
            return found[0]

        with self._autocast():
            if self.plan.method in ("bptt", "quantised"):
                record = self.loop(images, timesteps, self.plan.losses.statistics, self.plan.chunk)
                loss(record).backward()
            else:
                record = learn_online(
                    self.network,
                    images,
                    timesteps,
                    self.plan.losses.statistics,
                    loss,
                    self.plan.method,
                )
                parallel.average_gradients(self.network.parameters())
        return record, found[0].detach(), found[1]

    @torch.no_grad()
    def _target(self, images: Tensor, labels: Tensor | None) -> Target:
        losses, source = self.plan.losses, self.data.source
        if labels is None and losses.needs("labels"):
            raise ConversionError(
                f"a batch has no labels, which {', '.join(losses.needs('labels'))} need(s), unlike "
                "the first; pass pairs (images, labels) throughout, or images alone"
            )
        logits = None
        if losses.needs("teacher"):
            assert self.data.teacher is not None
            with self._autocast():
                logits = self.data.teacher(images)
        activations: dict[str, Tensor] = {}
        if losses.needs("activations"):
            layers = source.neurons
            source.analog(images, lambda n, x: activations.update({n: layers[n].analog(x)}))
        return Target(labels, logits, activations)

    def _autocast(self) -> torch.autocast:
        half = self.plan.mixed_precision
        if half is None:
            half = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def _seed(self, seed: int) -> None:
        torch.manual_seed(seed)
        batches = self.data.batches
        if isinstance(batches, DataLoader):
            if batches.generator is not None:
                batches.generator.manual_seed(seed)
            if isinstance(batches.sampler, DistributedSampler):
                batches.sampler.set_epoch(seed)

    def _remember_best(self, row: dict[str, float]) -> None:
        if self.plan.patience is None:
            return
        choices = self.plan.curriculum.choices
        score = sum(row[f"accuracy_{T}"] for T in choices) / len(choices)
        if self.best is None or score > self.best["score"]:
            averaged = {} if self.average is None else self.average.values
            now = {**self.network.state_dict(), **averaged}
            values = {name: value.clone() for name, value in now.items()}
            self.best = {"score": score, "epoch": row["epoch"], "parameters": values}

    def _out_of_patience(self) -> bool:
        if self.plan.patience is None or self.best is None:
            return False
        return len(self.rows) - self.best["epoch"] >= self.plan.patience


def set_compiled(network: SpikingNetwork, compiled: bool) -> None:
    """Whether a trainable network's neurons are compiled, and its norms torch's kernel."""
    for neuron in trainable_neurons(network).values():
        neuron.compiled = compiled
    for module in network.modules():
        if isinstance(module, Normalised):
            module.quick = compiled


def _memory_format(network: nn.Module, images: Tensor) -> torch.memory_format:
    """The memory format of images of the rank, as the weights of a trainable network have it."""
    last = images.ndim == 4 and takes_images_channels_last(network)
    return torch.channels_last if last else torch.preserve_format


def _postfix(sums: dict[str, float]) -> str:
    images = sums["images"]
    accuracy = f", accuracy {100 * sums['right'] / images:.2f} %" if sums["labelled"] else ""
    rate = sums["firing_rate"] / images
    return f"loss {sums['loss'] / images:.3f}{accuracy}, firing rate {rate:.3f}"
