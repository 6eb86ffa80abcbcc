"""Answers of a spiking network that are not its source's: the classes and the images."""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spikeport.convert.inputs import Input
from spikeport.convert.simulation.early_exit import class_scores, is_scores
from spikeport.report.sweeping.sweep import Answers

EXAMPLES = 12


@dataclass(frozen=True)
class Answer:
    """A class and the softmax share that it got, in [0, 1]."""

    index: int
    share: float


@dataclass(frozen=True)
class Example:
    """An image on which the two networks differ.

    Attributes:
        image: [1, C, ...], as the network takes it.
        number: its place in the data, from 0.
        label: its class; None where unknown.
        source: the source network's answer.
        spiking: the spiking network's.
    """

    image: Input
    number: int
    label: int | None
    source: Answer
    spiking: Answer


@dataclass
class Differences:
    """Gathers the answers of a sweep at one T.

    Attributes:
        timesteps: that T.
        classes: number of classes; None where the output is no class scores.
        counts: (source class, spiking class) -> images.
        examples: the images that differ on which the source network is surest, at most EXAMPLES.
        images: how many images were seen.
    """

    timesteps: int
    classes: int | None = None
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    images: int = 0

    def add(self, answers: Answers) -> None:
        """Take up one batch."""
        if is_scores(answers.source):
            scores = class_scores(answers.source)
            self.classes = scores.shape[1]
            source = _best(scores)
            spiking = _best(class_scores(answers.spiking[self.timesteps]))
            for row, (ours, theirs) in enumerate(zip(spiking, source, strict=True)):
                self.counts[theirs.index, ours.index] += 1
                if ours.index != theirs.index:
                    label = int(answers.labels[row]) if answers.classified else -1
                    known = label if label >= 0 else None
                    image = answers.images[row : row + 1]
                    self._keep(Example(image, self.images + row, known, theirs, ours))
        self.images += len(answers.images)

    def _keep(self, example: Example) -> None:
        self.examples.append(example)
        self.examples.sort(key=lambda one: -one.source.share)
        del self.examples[EXAMPLES:]

    def pairs(self) -> list[tuple[int, int, int]]:
        """(source class, spiking class, images) that differ, most frequent first."""
        found = [(a, b, n) for (a, b), n in self.counts.items() if a != b]
        return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))


def _best(scores: Tensor) -> list[Answer]:
    share, index = torch.softmax(scores.double(), 1).max(1)
    return [Answer(int(i), float(s)) for i, s in zip(index, share, strict=True)]
