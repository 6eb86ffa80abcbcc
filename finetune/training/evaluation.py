"""Accuracy, loss and spikes of a network at some numbers of timesteps."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.batches import Batch, target_tensors
from spikeport.convert.inputs import call
from spikeport.convert.simulation.early_exit import is_scores
from spikeport.convert.simulation.emitted import Emitted
from spikeport.convert.simulation.run import map_tensors
from spikeport.finetune.gradient.record import Record
from spikeport.finetune.training.losses import Loss, Target
from spikeport.finetune.training.selection import Select, selected


def known_labels(batch: Batch, classes: int | None) -> Tensor | None:
    """Class indices of a batch; labels below 0 stand for none, as in folders without classes.

    Args:
        batch: taken apart.
        classes: K; None where the network gives no class scores.

    Raises:
        ConversionError: labels of which some are below 0 and some are not, or beyond the classes.
    """
    labels = None if classes is None else batch.labels(classes)
    if labels is None or bool((labels >= 0).all()):
        return labels
    if bool((labels < 0).all()):
        return None
    raise ConversionError(
        f"a batch has the label {int(labels.min())} beside others; leave images without a class "
        "out, or pass images alone and teacher=the source network"
    )


@torch.no_grad()
def evaluate(
    network: SpikingNetwork,
    batches: Iterable[Any],
    timesteps: Sequence[int],
    teacher: Callable[[Tensor], Any] | None = None,
    losses: Sequence[Loss] = (),
    select: Select = None,
) -> dict[str, float]:
    """Shares of right answers, losses and spikes, over the batches of all processes together.

    Args:
        network: converted, not a trainable one.
        batches: with labels; or without, and then answers are compared with the teacher's.
        timesteps: the T to read the answer at, ascending.
        teacher: gives answers like the network's.
        losses: what else is measured where there are no labels, see ``Loss.measures``.
        select: the part of the answer that is measured, see ``FineTuning``.

    Returns:
        ``accuracy_T`` in percent for each T (agreement with the teacher where there are no
        labels), or ``loss_T`` where the losses measure and there are no labels; and
        ``spikes_per_neuron`` at the last T.
    """
    tally = _Tally(timesteps, teacher, [term for term in losses if term.measures])
    counter = _SpikeCounter(network)
    for batch in batches:
        found = network.take_apart(batch)
        answers = network.readouts(found.x, timesteps, watch=counter)
        tally.add(found, [selected(answer, select) for _, answer in answers])
    return tally.means() | counter.mean()


class _Tally:
    """Sums over the batches of an evaluation."""

    def __init__(
        self,
        timesteps: Sequence[int],
        teacher: Callable[[Tensor], Any] | None,
        losses: Sequence[Loss],
    ) -> None:
        self.timesteps, self.teacher, self.losses = timesteps, teacher, losses
        self.right, self.loss = [0] * len(timesteps), [0.0] * len(timesteps)
        self.judged = self.measured = 0  # images

    def add(self, batch: Batch, answers: list[Any]) -> None:
        """Take up one batch; ``answers`` at each T."""
        scores = isinstance(answers[0], Tensor) and is_scores(answers[0])
        labels = known_labels(batch, answers[0].shape[1] if scores else None)
        other = batch.target if labels is None and has_targets(batch.target) else None
        if labels is None and self.losses and (other is not None or not scores):
            self._measure(batch, answers)
            return
        if labels is None:
            if self.teacher is None or not scores:
                raise ConversionError(
                    "the validation data has no labels and there is no teacher to compare answers "
                    "with; pass pairs (images, labels), teacher=the source network, or a loss of "
                    "the targets as FineTuning(losses=[nn.MSELoss()])"
                )
            labels = call(self.teacher, batch.x.clone()).argmax(1)
        self.judged += len(batch.x)
        for place, answer in enumerate(answers):
            self.right[place] += int((answer.argmax(1) == labels.to(answer.device)).sum())

    def _measure(self, batch: Batch, answers: list[Any]) -> None:
        expected = None if self.teacher is None else call(self.teacher, batch.x.clone())
        target = Target(None, expected, {}, target_tensors(batch))
        self.measured += len(batch.x)
        for place, answer in enumerate(answers):
            record = Record(map_tensors(lambda v: v[None], answer), {}, {}, {}, {}, {})
            terms = [term.weight * float(term(record, target)) for term in self.losses]
            self.loss[place] += sum(terms) * len(batch.x)

    def means(self) -> dict[str, float]:
        """The columns, over all processes."""
        own = [*self.right, *self.loss, self.judged, self.measured]
        *sums, judged, measured = processes.added(torch.tensor(own, dtype=torch.float64)).tolist()
        count = len(self.timesteps)
        columns: dict[str, float] = {}
        for place, T in enumerate(self.timesteps):
            if judged:
                columns[f"accuracy_{T}"] = 100 * sums[place] / judged
            if measured:
                columns[f"loss_{T}"] = sums[count + place] / measured
        return columns


def has_targets(target: Any) -> bool:
    """Whether there is one; labels that are all below 0 are none."""
    known = isinstance(target, Tensor) and not target.is_floating_point()
    return target is not None and not (known and bool((target < 0).all()))


class _SpikeCounter:
    """Adds up spikes of either sign; called with what each layer emits in a chunk."""

    def __init__(self, network: SpikingNetwork) -> None:
        self.layers = network.neurons
        self.spikes = self.neurons = 0.0

    def __call__(self, name: str, emitted: Emitted) -> None:
        layer = self.layers.get(name)
        if layer is None:  # a pool of spikes
            return
        values = emitted.values()
        self.spikes += float((values.abs() / layer.per_channel(layer.threshold, values[0])).sum())
        if emitted.first == 0:
            self.neurons += values[0].numel()

    def mean(self) -> dict[str, float]:
        """The spikes of a neuron, over all processes."""
        own = torch.tensor([self.spikes, self.neurons], dtype=torch.float64)
        spikes, neurons = processes.added(own).tolist()
        return {"spikes_per_neuron": spikes / neurons}
