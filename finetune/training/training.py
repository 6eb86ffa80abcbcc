"""The loop of a fine-tuning: gradients, steps, evaluation, and the best network so far."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from tqdm import tqdm

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.batches import Batch, number_of_batches, target_tensors
from spikeport.convert.inputs import Input
from spikeport.finetune.distributed import average_gradients, wrapped
from spikeport.finetune.gradient.batch_norms import NormedLayer, fold_norms
from spikeport.finetune.gradient.record import Record
from spikeport.finetune.gradient.through_time import TimeLoop, learn_online
from spikeport.finetune.neuron.trainable import (
    plain,
    takes_images_channels_last,
    trainable_neurons,
)
from spikeport.finetune.training.data import Data, reseed
from spikeport.finetune.training.epochs import EpochTraining
from spikeport.finetune.training.evaluation import evaluate, known_labels
from spikeport.finetune.training.losses import Target, WeightedSum
from spikeport.finetune.training.optimization import Average
from spikeport.finetune.training.plan import FineTuning
from spikeport.finetune.training.selection import selected_over_time
from spikeport.finetune.training.timestep_schedule import TimestepSchedule


class SpikingTraining(EpochTraining):
    """A fine-tuning under way.

    Args:
        network: trainable; changed in place.
        timesteps: T of every step, and the number of epochs.
        plan: how, with its losses decided on.
        data: from what.
        classes: K; None where the answers are no class scores.
        progress: show bars.
    """

    network: SpikingNetwork

    def __init__(
        self,
        network: SpikingNetwork,
        timesteps: TimestepSchedule,
        plan: FineTuning,
        data: Data,
        classes: int | None,
        progress: bool,
    ) -> None:
        self.timesteps, self.plan, self.data, self.classes = timesteps, plan, data, classes
        self.losses = WeightedSum(plan.terms)
        self.progress = progress and processes.is_first()
        self.device = next(network.parameters()).device
        set_compiled(network, plan.compiled)
        self.steps = number_of_batches(data.batches)  # of an epoch
        optimizer = plan.optimization.optimizer(network)
        rates = plan.optimization.schedule(optimizer, timesteps.epochs * self.steps)
        super().__init__(network, optimizer, rates, timesteps.epochs, plan.seed)
        # the wrapper gives all processes the parameters of the first, which the average copies
        self.loop = wrapped(TimeLoop(network, plan.method == "quantized", plan.compiled))
        decay = plan.optimization.average
        self.average = None if decay is None else Average(network, decay)
        self.best: dict[str, Any] | None = None  # with patience: score, epoch, parameters

    def over(self) -> bool:
        """Whether the last epoch is done, or patience has ended."""
        if super().over() or self.plan.patience is None or self.best is None:
            return super().over()
        return len(self.rows) - self.best["epoch"] >= self.plan.patience

    def epoch(self) -> dict[str, float]:
        """Train, and measure on the validation data.

        Raises:
            ConversionError: the loss is no longer finite, or unusable data.
        """
        row = self._trained_epoch(len(self.rows))
        if self.data.validation is not None:
            teacher = None if self.data.teacher is None else self.data.ask
            row |= evaluate(
                self.result(),
                self.data.validation,
                self.read_at,
                teacher,
                self.plan.terms,
                self.plan.select,
            )
            self._remember_best(row)
        return row

    @property
    def read_at(self) -> tuple[int, ...]:
        """The T that are measured at."""
        return tuple(sorted({*self.timesteps.choices, *self.plan.evaluate_at}))

    def reseed(self, seed: int) -> None:
        """Set all generators that an epoch draws from."""
        reseed(self.data.batches, seed)

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
        average = None if self.average is None else (self.average.steps, self.average.values)
        return super().state() | {"average": average, "best": self.best}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state of a training with the same plan and start."""
        super().restore(state)
        here = pytree.tree_map_only(
            Tensor, lambda value: value.to(self.device), (state["average"], state["best"])
        )
        if self.average is not None:
            self.average.steps, self.average.values = here[0]
        self.best = here[1]

    def _trained_epoch(self, epoch: int) -> dict[str, float]:
        epochs = self.epochs
        sums: dict[str, float] = {}
        draws = self.timesteps.of_epoch(epoch, self.steps, self.seed)
        name = f"epoch {epoch + 1}/{epochs}"
        done = 0
        with tqdm(self.data.batches, name, self.steps, disable=not self.progress) as bar:
            for batch in bar:
                if done < self.steps:
                    self._set_progress((epoch * self.steps + done) / (epochs * self.steps))
                    for key, value in self._step(batch, draws[done]).items():
                        sums[key] = sums.get(key, 0.0) + value
                    bar.set_postfix_str(_postfix(sums))
                done += 1
        if done != self.steps:
            raise ConversionError(
                f"the data gave {self.steps} batches at first and {done} in epoch {epoch + 1}; "
                "pass data that gives the same number in every epoch, such as a list of batches"
            )
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
        """One step of the optimizer; sums over the batch for the log."""
        found = self.data.source.take_apart(batch)
        images = _as_weights(self.network, found.x)
        labels = known_labels(found, self.classes)
        self.optimizer.zero_grad()
        target = self._target(images, labels, found)
        record, loss, terms = self._learn(images, target, timesteps)
        if not bool(torch.isfinite(loss)):
            rate = self.plan.optimization.rate
            raise ConversionError(
                f"the loss is {float(loss)} in epoch {len(self.rows) + 1}; fine-tune with a "
                f"learning rate below {rate}, as Optimization(rate={rate / 10:g})"
            )
        parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
        if self.plan.optimization.clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.plan.optimization.clip)
        self.optimizer.step()
        self.schedule.step()
        for neuron in trainable_neurons(self.network).values():
            neuron.project()
        if self.average is not None:
            self.average.update(self.network)
        means = {"timesteps": float(timesteps), "loss": float(loss)}
        means |= {name: float(value) for name, value in terms.items()}
        means["firing_rate"] = float(record.firing_rate.detach().mean())
        right = 0
        if labels is not None:
            answer = selected_over_time(record, self.plan.select).answer
            right = int((answer.argmax(1) == labels).sum())
        counts = {"images": len(images), "labelled": 0 if labels is None else len(images)}
        return (
            {key: value * len(images) for key, value in means.items()} | counts | {"right": right}
        )

    def _learn(
        self, images: Input, target: Target, timesteps: int
    ) -> tuple[Record, Tensor, dict[str, Tensor]]:
        """Set the gradients; the record, the loss and its terms."""
        found: list[Any] = []

        def loss(record: Record) -> Tensor:
            found[:] = self.losses(selected_over_time(record, self.plan.select), target)
            if not found[0].requires_grad:
                raise ConversionError(
                    "the loss depends on no parameter of the network: the part of its answer that "
                    "is trained is the input itself, or the loss detaches it; pass "
                    "plan=FineTuning(select=…) with another part, or another loss"
                )
            return found[0]

        with self._autocast():
            if self.plan.method in ("bptt", "quantized"):
                record = self.loop(images, timesteps, self.losses.statistics, self.plan.chunk)
                loss(record).backward()
            else:
                record = learn_online(
                    self.network,
                    images,
                    timesteps,
                    self.losses.statistics,
                    loss,
                    self.plan.method,
                )
                average_gradients(self.network.parameters())
        return record, found[0].detach(), found[1]

    @torch.no_grad()
    def _target(self, images: Input, labels: Tensor | None, batch: Batch) -> Target:
        losses, source = self.losses, self.data.source
        for what, there in (("labels", labels is not None), ("targets", batch.target is not None)):
            if losses.needs(what) and not there:
                raise ConversionError(
                    f"a batch has no {what}, which {', '.join(losses.needs(what))} need(s), unlike "
                    f"the first; pass pairs (images, {what}) throughout, or images alone"
                )
        logits = None
        if losses.needs("teacher"):
            with self._autocast():
                logits = self.data.ask(images)
        activations: dict[str, Tensor] = {}
        if losses.needs("activations"):
            layers = source.neurons
            source.analog(images, lambda n, x: activations.update({n: layers[n].analog(x)}))
        targets = target_tensors(batch) if losses.needs("targets") else None
        return Target(labels, logits, activations, targets)

    def _autocast(self) -> torch.autocast:
        half = self.plan.mixed_precision
        if half is None:
            half = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def _remember_best(self, row: dict[str, float]) -> None:
        if self.plan.patience is None:
            return
        choices = self.timesteps.choices
        # a loss is the better the smaller it is
        scores = [row.get(f"accuracy_{T}", -row.get(f"loss_{T}", 0.0)) for T in choices]
        score = sum(scores) / len(choices)
        if self.best is None or score > self.best["score"]:
            averaged = {} if self.average is None else self.average.values
            now = {**self.network.state_dict(), **averaged}
            values = {name: value.clone() for name, value in now.items()}
            self.best = {"score": score, "epoch": len(self.rows) + 1, "parameters": values}


def set_compiled(network: SpikingNetwork, compiled: bool) -> None:
    """Whether a trainable network's neurons are compiled, and its norms torch's kernel."""
    for neuron in trainable_neurons(network).values():
        neuron.compiled = compiled
    for module in network.modules():
        if isinstance(module, NormedLayer):
            module.quick = compiled


def _as_weights(network: nn.Module, x: Input) -> Input:
    """Images in the memory format that the weights of a trainable network have."""
    if isinstance(x, Tensor) and x.ndim == 4 and takes_images_channels_last(network):
        return x.to(memory_format=torch.channels_last)
    return x


def _postfix(sums: dict[str, float]) -> str:
    images = sums["images"]
    accuracy = f", accuracy {100 * sums['right'] / images:.2f} %" if sums["labelled"] else ""
    rate = sums["firing_rate"] / images
    return f"loss {sums['loss'] / images:.3f}{accuracy}, firing rate {rate:.3f}"
