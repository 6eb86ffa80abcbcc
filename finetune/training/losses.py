"""Losses of fine-tuning: terms of a weighted sum, each of them logged."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from spikeport.convert import ConversionError
from spikeport.finetune.distributed import of_all
from spikeport.finetune.gradient.record import Record


class Target(NamedTuple):
    """The wanted answers of a batch.

    Attributes:
        labels: class indices, [B], or None.
        logits: answers of the teacher, [B, K] or like the network's; None without one.
        activations: of the source network, [B, ...] by neuron layer, activation units; empty where
            no loss asks.
        targets: what came with the images, as it came, its tensors where the images are.
    """

    labels: Tensor | None
    logits: Any
    activations: dict[str, Tensor]
    targets: Any = None


@dataclass(frozen=True)
class Loss(ABC):
    """A term of what is minimised: a frozen dataclass whose fields the command line takes in turn.

    A class in this file is all that a new one takes; losses of a user's own may lie anywhere.

    Attributes:
        weight: factor on it in the sum, >= 0.
        statistics: fields of ``Record`` that it reads beside the outputs.
        scores: it needs answers that are class scores, [B, K].
        labels: it needs labels.
        teacher: it needs a teacher's answers.
        activations: it needs the source network's activations.
        targets: it needs targets of any kind.
        measures: its value on validation data says how good the answers are.

    Raises:
        ConversionError: a field that is out of range.
    """

    weight: float = 1.0
    statistics: ClassVar[frozenset[str]] = frozenset()
    scores: ClassVar[bool] = False
    labels: ClassVar[bool] = False
    teacher: ClassVar[bool] = False
    activations: ClassVar[bool] = False
    targets: ClassVar[bool] = False
    measures: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ConversionError(
                f"{type(self).__name__}.weight is {self.weight!r}; expected a number >= 0"
            )

    @property
    def name(self) -> str:
        """The name in the log."""
        return type(self).__name__

    @abstractmethod
    def __call__(self, record: Record, target: Target) -> Tensor:
        """The term without its weight, a mean over the batch."""


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of the decoded answer, which is the mean of the outputs over time."""

    scores = True
    labels = True

    def __call__(self, record: Record, target: Target) -> Tensor:
        assert target.labels is not None
        return F.cross_entropy(record.answer, target.labels)


@dataclass(frozen=True)
class TET(Loss):
    """Cross-entropy of every timestep's output, and its distance from a constant.

    Deng et al. 2022, "Temporal Efficient Training of Spiking Neural Network via Gradient
    Re-weighting", eq. 10-12: ``(1 − λ)·mean_t CE(o_t, y) + λ·MSE(o, φ)``.

    Attributes:
        regularization: λ, in [0, 1].
        level: φ.
    """

    regularization: float = 0.0
    level: float = 1.0
    scores = True
    labels = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.regularization <= 1:
            raise ConversionError(f"{self!r}: expected regularization in [0, 1]")

    def __call__(self, record: Record, target: Target) -> Tensor:
        assert target.labels is not None
        outputs = record.outputs
        labels = target.labels.repeat(len(outputs))
        entropy = F.cross_entropy(outputs.flatten(0, 1), labels)
        if self.regularization == 0:
            return entropy
        spread = (outputs - self.level).square().mean()
        return (1 - self.regularization) * entropy + self.regularization * spread


@dataclass(frozen=True)
class Distillation(Loss):
    """Kullback-Leibler divergence from the teacher's answer.

    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network": times temperature squared.

    Attributes:
        temperature: both answers are divided by it, > 0.
    """

    temperature: float = 2.0
    scores = True
    teacher = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ConversionError(f"{self!r}: expected temperature > 0")

    def __call__(self, record: Record, target: Target) -> Tensor:
        assert target.logits is not None
        found = F.log_softmax(record.answer / self.temperature, 1)
        wanted = F.log_softmax(target.logits / self.temperature, 1)
        distance = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
        return distance * self.temperature**2


@dataclass(frozen=True)
class OutputMatching(Loss):
    """Squared distance of the decoded answer from the teacher's, over the latter's mean square.

    For answers that are no class scores: values, maps, or several outputs, of which each counts by
    itself; the mean over them.
    """

    teacher = True
    measures = True

    def __call__(self, record: Record, target: Target) -> Tensor:
        terms = []
        for found, wanted in zip(_floats(record.answer), _floats(target.logits), strict=True):
            scale = of_all(wanted.square().mean()).clamp_min(1e-12)
            terms.append((found - wanted).square().mean() / scale)
        return torch.stack(terms).mean()


@dataclass(frozen=True)
class TargetLoss(Loss):
    """A function of the decoded answers and the targets, such as one of torch's losses.

    Functions in ``FineTuning.losses`` become this with weight 1.

    Attributes:
        function: called with the answers and the targets as the data gives them, floating point
            ones in the answers' type; returns a scalar.
    """

    function: Callable[[Any, Any], Tensor] = field(kw_only=True)
    targets = True
    measures = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function) or isinstance(self.function, type):
            raise ConversionError(
                f"a loss is {self.function!r}; expected a Loss, a function of (outputs, targets), "
                "or an instance of a torch loss, such as nn.MSELoss()"
            )

    @property
    def name(self) -> str:
        """The function's or module's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __repr__(self) -> str:
        shown = repr(self.function) if isinstance(self.function, nn.Module) else self.name
        return f"TargetLoss({self.weight:g}, function={shown})"

    def __call__(self, record: Record, target: Target) -> Tensor:
        try:
            found = self.function(record.answer, target.targets)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as cause:
            raise ConversionError(
                f"the loss {self.name} cannot take the network's answers ({shapes(record.answer)}) "
                f"and the targets ({shapes(target.targets)}): {cause}"
            ) from cause
        if not isinstance(found, Tensor) or found.numel() != 1:
            raise ConversionError(
                f"the loss {self.name} returns {shapes(found)}; expected a scalar tensor, the mean "
                "over the batch"
            )
        return found.reshape(())


@dataclass(frozen=True)
class RateMatching(Loss):
    """Squared distance of each layer's mean emission from the source's activation.

    Relative to the activation's mean square; the mean over the layers. As in Yang et al. 2022,
    "Training Spiking Neural Networks with Local Tandem Learning".
    """

    statistics = frozenset({"rates"})
    activations = True

    def __call__(self, record: Record, target: Target) -> Tensor:
        terms = []
        for name, rate in record.rates.items():
            wanted = target.activations[name]
            scale = of_all(wanted.square().mean()).clamp_min(1e-12)
            terms.append((rate - wanted).square().mean() / scale)
        return torch.stack(terms).mean()


@dataclass(frozen=True)
class SpikeBudget(Loss):
    """Spikes beyond a budget, or all of them.

    Counted per neuron and timestep, over all layers, for every image by itself.

    Attributes:
        budget: spikes per neuron and timestep that cost nothing, >= 0; the ``firing_rate`` of the
            log.
        power: 1 (L1) or 2 (L2) of what is beyond it.
    """

    budget: float = 0.0
    power: int = 1
    statistics = frozenset({"spikes"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.budget >= 0 or self.power not in (1, 2):
            raise ConversionError(f"{self!r}: expected budget >= 0 and power 1 or 2")

    def __call__(self, record: Record, target: Target) -> Tensor:
        excess = (record.firing_rate - self.budget).clamp_min(0)
        return excess.pow(self.power).mean()


@dataclass(frozen=True)
class InformationLoss(Loss):
    """Squared distance of each layer's mean potential from its threshold, in thresholds.

    Guo et al. 2022, "IM-Loss: Information Maximization Loss for Spiking Neural Networks": a
    potential around the threshold fires half of the time, which carries most. Mean over the layers.
    """

    statistics = frozenset({"membranes"})

    def __call__(self, record: Record, target: Target) -> Tensor:
        means = torch.stack([each.mean() for each in record.membranes.values()])
        means = of_all(means)
        return (means - 1).square().mean()


@dataclass(frozen=True)
class MembraneLoss(Loss):
    """Squared distance of the potentials from the spikes they give, in thresholds.

    After Guo et al. 2023, "RMP-Loss: Regularizing Membrane Potential Distribution for Spiking
    Neural Networks", which pulls potentials to the values of spikes. Mean over the layers.
    """

    statistics = frozenset({"gaps"})

    def __call__(self, record: Record, target: Target) -> Tensor:
        return torch.stack(list(record.gaps.values())).mean()


@dataclass(frozen=True)
class WeightedSum:
    """The sum of losses, each times its weight.

    Attributes:
        terms: each kind once.
    """

    terms: tuple[Loss, ...]

    def __post_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) < len(names):
            raise ConversionError(
                f"the losses are {list(names)}; expected one or more, each kind once, such as "
                "[CrossEntropy(), Distillation(0.5)]"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms in the log."""
        return tuple(term.name for term in self.terms)

    @property
    def statistics(self) -> frozenset[str]:
        """Statistics that runs have to note."""
        return frozenset().union(*(term.statistics for term in self.terms))

    def __call__(self, record: Record, target: Target) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and each term without its weight, detached."""
        values = [term(record, target) for term in self.terms]
        total = sum(term.weight * value for term, value in zip(self.terms, values, strict=True))
        assert isinstance(total, Tensor)
        return total, {n: v.detach() for n, v in zip(self.names, values, strict=True)}

    def needs(self, what: str) -> list[str]:
        """The terms that need "scores", "labels", "targets", a "teacher" or "activations"."""
        return [term.name for term in self.terms if getattr(term, what)]


# by the name that the command line gives them, such as "cross-entropy"
LOSSES: dict[str, type[Loss]] = {
    re.sub("(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower(): kind
    for kind in Loss.__subclasses__()
    if kind is not TargetLoss
}


def _floats(answer: Any) -> list[Tensor]:
    leaves = pytree.tree_leaves(answer)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def shapes(value: Any) -> str:
    """The shapes and types of the tensors in a value."""
    leaves = pytree.tree_leaves(value)
    return ", ".join(
        f"{list(leaf.shape)} {leaf.dtype}" if isinstance(leaf, Tensor) else type(leaf).__name__
        for leaf in leaves
    )


def default_losses(scores: bool, labels: bool, targets: bool, teacher: bool) -> tuple[Loss, ...]:
    """The losses of a call that names none; see docs/finetune.md for the reasons.

    Args:
        scores: the answers are class scores.
        labels: the data has class labels.
        targets: the data has targets, labels or others.
        teacher: there is a teacher.

    Raises:
        ConversionError: neither labels nor a teacher.
    """
    if scores and labels:
        return (TET(), Distillation()) if teacher else (TET(),)
    if teacher:  # targets that are no labels say that the scores are no classes either
        return (Distillation(),) if scores and not targets else (OutputMatching(),)
    if targets:
        raise ConversionError(
            "the network's answers are no class scores, or the targets no class labels, so that "
            "the loss is yours to choose: plan=FineTuning(losses=[nn.MSELoss()]), or any function "
            "of (outputs, targets); or pass teacher=the source network"
        )
    raise ConversionError(
        "the data has no labels and there is no teacher; pass pairs (images, labels), or "
        "teacher=the source network"
    )
