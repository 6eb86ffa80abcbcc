"""The images of `compare_methods`: read once, and none of them serves for both purposes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from spikeport.scripts.options import fingerprint
from spikeport.zoo.images import image_folder, split

IN_MEMORY = 2 * 2**30  # bytes of evaluation images that are kept; beyond, files are read again


@dataclass
class Samples:
    """Images for one purpose.

    Attributes:
        batches: of (images [B, C, H, W], labels [B]); can be read again and again.
        length: number of batches.
        images: number of images.
        digest: stands for the content of the files, their labels and their preparation.
    """

    batches: Iterable[tuple[Tensor, Tensor]]
    length: int
    images: int
    digest: str


def read_samples(
    config: dict[str, Any],
    data: str,
    test_data: str | None,
    counts: tuple[int, int],
    batch_sizes: tuple[int, int],
    seed: int,
) -> tuple[Samples, Samples]:
    """Draws and reads calibration and evaluation images.

    The evaluation images depend on their folder, their number and the seed alone. Calibration
    images are drawn from the others; a file that is byte for byte one of the evaluation images is
    passed over, whatever folder it lies in.

    Args:
        config: from `input_config`.
        data: folder to calibrate on.
        test_data: folder to evaluate on; None: other images of `data`.
        counts: number of calibration and of evaluation images.
        batch_sizes: images in a batch, for either.
        seed: of the draw.

    Raises:
        FileNotFoundError: no such folder, or no images in it.
        ValueError: too few images.
    """
    source = image_folder(data, config)
    tested = source if test_data is None else image_folder(test_data, config)
    evaluation = split(tested, 0, counts[1], seed)[1]
    seen = {fingerprint(_path(evaluation, i)) for i in range(len(evaluation))}
    calibration = _others(source, counts[0], seen, seed)
    if len(calibration) < counts[0]:
        raise ValueError(
            f"'{data}' has only {len(calibration)} images that are not evaluated on, "
            f"{counts[0]} are wanted for calibration. Ask for fewer or add images; none may "
            "serve for both."
        )
    return (
        _samples(calibration, batch_sizes[0], config),
        _samples(evaluation, batch_sizes[1], config),
    )


def _others(folder: Dataset[Any], count: int, seen: set[str], seed: int) -> Subset[Any]:
    """The first images of the random order whose content has not been seen."""
    total = len(folder)  # type: ignore[arg-type]
    order = split(folder, total, 0, seed)[0]
    chosen: list[int] = []
    for place, index in enumerate(order.indices):
        if len(chosen) == count:
            break
        if fingerprint(_path(order, place)) not in seen:
            chosen.append(index)
    return Subset(folder, chosen)


def _path(subset: Subset[Any], place: int) -> str:
    return str(subset.dataset.samples[subset.indices[place]][0])  # type: ignore[attr-defined]


def _samples(subset: Subset[Any], batch_size: int, config: dict[str, Any]) -> Samples:
    files = [subset.dataset.samples[index] for index in subset.indices]  # type: ignore[attr-defined]
    content = [config, [(fingerprint(path), label) for path, label in files]]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    reader = DataLoader(subset, batch_size=batch_size)
    size = subset[0][0].nbytes * len(subset)
    batches = [(images, labels) for images, labels in reader] if size <= IN_MEMORY else reader
    return Samples(batches, len(reader), len(subset), digest)


class Remembered(torch.nn.Module):
    """A source network that works each batch out once, however often the batch comes again."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        self.answers: dict[str, Tensor] = {}
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to what the model returns."""
        # by content: batches that are read from files again are other tensors each time
        key = hashlib.blake2b(images.contiguous().numpy().data, digest_size=16).hexdigest()
        if key not in self.answers:
            self.answers[key] = self.model(images)
        return self.answers[key]


class Watched:
    """Batches that say how far they have been read.

    Args:
        samples: where they come from.
        say: called with "3/8 batches".
    """

    def __init__(self, samples: Samples, say: Callable[[str], None]) -> None:
        self.samples, self.say = samples, say

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index, batch in enumerate(self.samples.batches):
            self.say(f"{index + 1}/{self.samples.length} batches")
            yield batch
