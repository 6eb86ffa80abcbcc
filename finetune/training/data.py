"""The data of a training: batches, a teacher, and by what one recognises them again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, DistributedSampler

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.batches import Batch, number_of_batches, stream, target_tensors
from spikeport.convert.inputs import Input, call, tensors_of
from spikeport.convert.output_types import plain
from spikeport.convert.simulation.early_exit import is_scores
from spikeport.finetune.training.selection import Select, described, selected

Teacher = Callable[..., Any]
PROBED = 8  # numbers that stand for an image
ASKED = 4  # images that the teacher's answers are compared on


@dataclass(frozen=True)
class Data:
    """Images to learn from, and what says how they should be answered.

    Attributes:
        batches: re-iterable; see ``convert.batches``.
        validation: of the same kind; None: nothing is measured between epochs.
        teacher: from images to answers like the network's; None: no loss asks for them.
        source: the network before fine-tuning, whose analog reading gives activations.
        select: the part of the answers that is trained, see ``FineTuning``.
    """

    batches: Any
    validation: Iterable[Any] | None
    teacher: Teacher | None
    source: SpikingNetwork
    select: Select = None

    def first(self) -> Batch:
        """The first batch, as it is after torch's present seed."""
        return self.source.take_apart(next(stream(self.batches, "", progress=False)))

    @torch.no_grad()
    def classes(self, first: Batch) -> int | None:
        """The number of classes K of the network's answers; None where these are no class scores.

        Raises:
            ConversionError: the teacher's answers are of another kind.
        """
        few = first.x[:2]
        answer = selected(self.source.analog(few), self.select)
        theirs = answer if self.teacher is None else self.ask(few)
        same = isinstance(answer, Tensor) == isinstance(theirs, Tensor)
        if not same or _shapes(answer) != _shapes(theirs):
            own = described(answer)
            if isinstance(answer, Tensor):
                own = f"class scores of {own}" if is_scores(answer) else own
            elif not isinstance(theirs, Tensor):
                own = "tensors of other shapes"
            raise ConversionError(
                f"the teacher answers {len(few)} images with {described(theirs)}, and the network "
                f"with {own}; pass a teacher with the same answers, or plan=FineTuning(select=…) "
                "with the part to train"
            )
        return int(answer.shape[1]) if isinstance(answer, Tensor) and is_scores(answer) else None

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return next(self.source.parameters()).device

    @torch.no_grad()
    def ask(self, images: Input) -> Any:
        """The teacher's answers, of which the part that is trained.

        Raises:
            ConversionError: they have no such part.
        """
        assert self.teacher is not None
        answer = call(self.teacher, images.clone())  # some networks normalise their input in place
        single = isinstance(answer, Tensor) and isinstance(self.select, str | int)
        return answer if single else selected(answer, self.select)

    def identity(self, seed: int) -> dict[str, Any]:
        """Facts that tell the data and the teacher from others; see ``TrainingFolder``.

        The images of the first batch say whether images, their preparation and their order are the
        same. Where they are others each time, as with augmentation by another generator than
        torch's, their number has to do.
        """
        with seeded(self.batches, seed):
            first = self.first()
        with seeded(self.batches, seed):
            again = self.first().x
        dataset = getattr(self.batches, "dataset", self.batches)
        found: dict[str, Any] = {
            "number of processes": processes.count(),
            "number of batches": number_of_batches(self.batches),
            "number of images": len(dataset) if hasattr(dataset, "__len__") else None,
            "batch size": len(first.x),
        }
        pairs = list(zip(tensors_of(first.x), tensors_of(again), strict=True))
        same = all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)
        teacher = None
        if self.teacher is not None and same:
            leaves = pytree.tree_leaves(plain(self.ask(first.x[:ASKED])))
            tensors = [leaf.flatten(1).float() for leaf in leaves if isinstance(leaf, Tensor)]
            teacher = torch.cat(tensors, 1)
        targets = target_tensors(first) if same else None
        return found | {
            "first batch of images": _projected(first.x) if same else None,
            "first batch of labels": targets if isinstance(targets, Tensor) else None,
            "teacher (its answers differ)": teacher,
        }


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


def _projected(images: Input) -> Tensor:
    """A few numbers for each image, [B, PROBED], that every pixel moves."""
    flat = torch.cat([value.reshape(len(value), -1).double() for value in tensors_of(images)], 1)
    flat = flat.cpu()
    signs = torch.rand(flat.shape[1], PROBED, generator=torch.Generator().manual_seed(0)) - 0.5
    return flat @ signs.double()


def _shapes(answer: Any) -> list[list[int]]:
    return [
        list(leaf.shape) for leaf in pytree.tree_leaves(plain(answer)) if isinstance(leaf, Tensor)
    ]
