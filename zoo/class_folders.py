"""Folders of images, a folder for each class, and which label a folder's name means."""

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

UNKNOWN = -1  # the label of an image whose class nobody knows


def endings() -> tuple[str, ...]:
    """The endings of the files that count as images, ".png" and so on."""
    return tuple(IMG_EXTENSIONS)


class ClassFolders(ImageFolder):
    """torchvision's ImageFolder, with labels by the rules of `spikeport.zoo.images.image_folder`.

    Args:
        root: the folder.
        transform: from an image to a tensor [C, H, W].
        loader: from a file's name to an image.
        count: number of outputs of the model, to check labels against; None checks nothing.

    Raises:
        ValueError: a label beyond ``count``, two folders with one label, an unknown WordNet id.
    """

    def __init__(
        self,
        root: Path,
        transform: Callable[[Image.Image], Tensor],
        loader: Callable[[str], Image.Image],
        count: int | None,
    ) -> None:
        self._count = count  # find_classes runs inside the constructor
        super().__init__(str(root), transform, loader=loader, allow_empty=True)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        entries = (entry for entry in os.scandir(directory) if not entry.name.startswith("."))
        names = sorted(entry.name for entry in entries if entry.is_dir())
        if not names:
            return ["."], {".": UNKNOWN}
        labels = _labels(names, self._count)
        _check_labels(labels, self._count, str(directory))
        return names, labels


def _labels(names: list[str], count: int | None) -> dict[str, int]:
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    subset = infer_imagenet_subset({"num_classes": 1000 if count is None else count})
    if subset and all(len(name) == 9 and name[0] == "n" and name[1:].isdecimal() for name in names):
        index = {wnid: i for i, wnid in enumerate(ImageNetInfo(subset).label_names())}
        unknown = [name for name in names if name not in index]
        if unknown:
            raise ValueError(
                f"class folder {unknown[0]!r} ({len(unknown)} such): no class of {subset}. "
                "Remove it, or pass classes=<number of outputs of the model>."
            )
        return {name: index[name] for name in names}
    return {name: i for i, name in enumerate(names)}


def _check_labels(labels: dict[str, int], count: int | None, directory: str) -> None:
    owners: dict[int, str] = {}
    for name, label in labels.items():
        if label in owners:
            raise ValueError(
                f"class folders {owners[label]!r} and {name!r} in {directory!r} both mean label "
                f"{label}. Merge or rename one."
            )
        owners[label] = name
        if count is not None and label >= count:
            raise ValueError(
                f"class folder {name!r} in {directory!r} means label {label}, but the model has "
                f"{count} classes, 0 to {count - 1}. Name the folders after the model's labels."
            )
