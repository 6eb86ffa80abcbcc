"""Calibration and evaluation data: any iterable of batches, checked where it comes in."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikeport.convert import processes
from spikeport.convert.errors import ConversionError

Batch = Tensor | tuple[Tensor, Tensor] | list[Tensor]


def images_and_labels(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Take a batch apart.

    Args:
        batch: a tensor [B, C, ...], or a pair of it and integer labels [B].

    Raises:
        ConversionError: it is neither, or the images are not finite floats.
    """
    images, labels = batch, None
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        images, labels = batch
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise ConversionError(
            f"a batch is {type(batch).__name__}; expected a float tensor [B, C, ...] or a pair "
            "(tensor, labels), as a DataLoader gives them"
        )
    if not bool(torch.isfinite(images).all()):
        raise ConversionError("a batch holds NaN or infinite values; check the images")
    return images, labels


def stream(batches: Iterable[Any], what: str, progress: bool) -> Iterator[Any]:
    """Iterate over the data with a progress bar that shows after two seconds, in one process.

    Raises:
        ConversionError: the data is empty, or an iterator that can be read only once.
    """
    if iter(batches) is batches:
        raise ConversionError(
            f"the data is a {type(batches).__name__}, which can be read only once; "
            "pass a list of batches or a DataLoader"
        )
    empty = True
    progress = progress and processes.is_first()
    for batch in tqdm(batches, desc=what, unit="batch", delay=2, disable=not progress):
        empty = False
        yield batch
    if empty:
        raise ConversionError("the data has no batch; pass at least one batch of images")
