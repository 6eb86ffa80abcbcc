"""The data of a training: batches, a teacher, and by what one recognises them again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.batches import stream
from spikeport.convert.simulation.early_exit import is_scores
from spikeport.finetune.training.evaluation import known_labels

Teacher = Callable[[Tensor], Tensor]
PROBED = 8  # numbers that stand for an image
ASKED = 4  # images that the teacher's answers are compared on


@dataclass(frozen=True)
class Data:
    """Images to learn from, and what says how they should be answered.

    Attributes:
        batches: re-iterable, with a length: (images, labels), or images alone.
        validation: of the same kind; None: nothing is measured between epochs.
        teacher: from images to logits, [B, K]; None: no loss asks for them.
        source: the network before fine-tuning, whose analog reading gives activations.
    """

    batches: Any
    validation: Iterable[Any] | None
    teacher: Teacher | None
    source: SpikingNetwork

    def first(self) -> tuple[Tensor, Tensor | None]:
        """Images and labels of the first batch, as they are after torch's present seed."""
        return known_labels(next(stream(self.batches, "", progress=False)))

    @torch.no_grad()
    def classes(self, images: Tensor, labels: Tensor | None) -> int:
        """The number of classes K that network, teacher and labels agree on.

        Args:
            images: of the first batch.
            labels: of them, or None.

        Raises:
            ConversionError: they do not agree, or the network's output is no class scores.
        """
        few = images[:2].to(self.device)
        scores = self.source.analog(few)
        if not is_scores(scores):
            raise ConversionError(
                f"the network returns {_kind(scores)}; fine-tuning takes networks that return "
                "class scores, [B, K] with K >= 2: convert the part that makes them"
            )
        classes: int = scores.shape[1]
        check_labels(labels, classes)
        answer = None if self.teacher is None else self.ask(few)
        if answer is not None and answer.shape != scores.shape:
            raise ConversionError(
                f"the teacher returns {_kind(answer)} for {len(few)} images, and the network "
                f"[{len(few)}, {classes}]; pass a teacher of the same classes"
            )
        return classes

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.source.parameters()).device

    @torch.no_grad()
    def ask(self, images: Tensor) -> Tensor:
        """The teacher's logits, [B, K].

        Raises:
            ConversionError: it returns something else than a tensor.
        """
        assert self.teacher is not None
        answer = self.teacher(images.clone())  # some networks normalise their input in place
        if not isinstance(answer, Tensor):
            raise ConversionError(
                f"the teacher returns a {type(answer).__name__}; expected logits, [B, K]: pass a "
                "function that takes them out, such as teacher=lambda x: model(x).logits"
            )
        return answer

    def identity(self, seed: int) -> dict[str, Any]:
        """Facts that tell the data and the teacher from others; see ``TrainingFolder``.

        The images of the first batch say whether images, their preparation and their order are the
        same. Where they are others each time, as with augmentation by another generator than
        torch's, their number has to do.
        """
        with seeded(self.batches, seed):
            images, labels = self.first()
        with seeded(self.batches, seed):
            again, _ = self.first()
        dataset = getattr(self.batches, "dataset", self.batches)
        found: dict[str, Any] = {
            "number of processes": processes.count(),
            "number of batches": len(self.batches),
            "number of images": len(dataset) if hasattr(dataset, "__len__") else None,
            "batch size": len(images),
        }
        same = images.shape == again.shape and torch.equal(images, again)
        few = images[:ASKED].to(self.device)
        teacher = None if self.teacher is None or not same else self.ask(few).float()
        return found | {
            "first batch of images": _projected(images) if same else None,
            "first batch of labels": labels if same else None,
            "teacher (its answers differ)": teacher,
        }


def check_labels(labels: Tensor | None, classes: int) -> None:
    """Raise ConversionError for labels beyond the classes of the network."""
    if labels is not None and int(labels.max()) >= classes:
        raise ConversionError(
            f"a batch has the label {int(labels.max())}, but the network has {classes} classes, 0 "
            f"to {classes - 1}; number the labels as the network does"
        )


@contextmanager
def seeded(batches: Any, seed: int) -> Iterator[None]:
    """Draw what a training with this seed draws first, and leave the generators as they were."""
    own = batches.generator if isinstance(batches, DataLoader) else None
    before = None if own is None else own.get_state()
    with torch.random.fork_rng():
        reseed(batches, seed)
        try:
            yield
        finally:
            if own is not None:
                own.set_state(before)


def reseed(batches: Any, seed: int) -> None:
    """Set torch's generator, the loader's own, and the epoch of its sampler."""
    torch.manual_seed(seed)
    if isinstance(batches, DataLoader):
        if batches.generator is not None:
            batches.generator.manual_seed(seed)
        if isinstance(batches.sampler, DistributedSampler):
            batches.sampler.set_epoch(seed)


def check_teacher(teacher: Any) -> None:
    """Raise ConversionError for a teacher that answers differently each time."""
    if isinstance(teacher, nn.Module) and teacher.training:
        raise ConversionError("the teacher is in training mode; call teacher.eval() first")


def _projected(images: Tensor) -> Tensor:
    """A few numbers for each image, [B, PROBED], that every pixel moves."""
    flat = images.flatten(1).double().cpu()
    signs = torch.rand(flat.shape[1], PROBED, generator=torch.Generator().manual_seed(0)) - 0.5
    return flat @ signs.double()


def _kind(value: Any) -> str:
    tensor = isinstance(value, Tensor)
    return f"shape {list(value.shape)}" if tensor else f"a {type(value).__name__}"
