"""CIFAR-10 in memory, from class folders, a .zip of them, or the original files."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension
from torchvision.transforms.functional import pil_to_tensor
from tqdm import tqdm

from spikeport.zoo.cifar import CLASSES, SIZE

SPLITS = ("train", "test")

_Named = tuple[str, int, Callable[[], Image.Image]]  # name of the file, label, how to read it


def read_split(
    source: str | os.PathLike[str], split: str, progress: bool = True
) -> tuple[Tensor, Tensor]:
    """Decodes all training or all test images.

    Args:
        source: a folder with `train/<class>/*.jpg` and `test/<class>/*.jpg` (any format that
            torchvision's ImageFolder reads); a .zip file of such folders, at its top level; or a
            folder with the original `cifar-10-batches-py`, as `torchvision.datasets.CIFAR10`
            leaves it.
        split: "train" or "test".
        progress: show a bar.

    Returns:
        (images, labels): uint8 [N, 3, 32, 32] and int64 [N], sorted by class and file name (the
        original files: in their own order).

    Raises:
        FileNotFoundError: no such file or folder, or not the images in it.
        ValueError: an unknown split, other classes than CIFAR-10's, an image of another size, a
            file that is no .zip.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: expected one of {', '.join(SPLITS)}.")
    root = Path(source).expanduser()
    if (root / CIFAR10.base_folder).is_dir():
        return _original(root, split)
    if root.is_file():
        with _open_zip(root) as archive:
            return _stack(_zipped(archive, split), f"{split}/ in {str(root)!r}", progress)
    return _stack(_folders(root, split), repr(str(root / split)), progress)


def _original(root: Path, split: str) -> tuple[Tensor, Tensor]:
    try:
        data = CIFAR10(root, train=split == "train")
    except RuntimeError as error:  # torchvision's check sums
        raise FileNotFoundError(f"CIFAR-10 in {str(root)!r} is incomplete: {error}") from error
    images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(data.targets)


def _folders(root: Path, split: str) -> list[_Named]:
    if not (root / split).is_dir():
        raise FileNotFoundError(
            f"CIFAR-10 in {str(root)!r}: no such .zip file, and no folder {split!r} or "
            f"{CIFAR10.base_folder!r} in it."
        )
    folder = ImageFolder(str(root / split), allow_empty=True)
    _check_classes(folder.classes, repr(str(root / split)))
    return [(path, label, partial(_decode, path)) for path, label in folder.samples]


def _open_zip(root: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"CIFAR-10 in {str(root)!r}: {error}. Expected a folder or a .zip file."
        ) from error


def _zipped(archive: zipfile.ZipFile, split: str) -> list[_Named]:
    files = [PurePosixPath(name) for name in sorted(archive.namelist())]
    images = [
        file
        for file in files
        if len(file.parts) == 3
        and file.parts[0] == split
        and has_file_allowed_extension(file.name, IMG_EXTENSIONS)
    ]
    _check_classes(sorted({file.parts[1] for file in images}), f"{archive.filename!r}: {split}/")
    return [
        (str(file), CLASSES.index(file.parts[1]), partial(_unzip, archive, str(file)))
        for file in images
    ]


def _unzip(archive: zipfile.ZipFile, name: str) -> Image.Image:
    return _decode(io.BytesIO(archive.read(name)))


def _decode(file: str | io.BytesIO) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def _check_classes(found: Sequence[str], where: str) -> None:
    if tuple(found) != CLASSES:
        raise ValueError(
            f"{where} has the class folders {', '.join(found) or 'none'}; expected those of "
            f"CIFAR-10: {', '.join(CLASSES)}."
        )


def _stack(files: list[_Named], where: str, progress: bool) -> tuple[Tensor, Tensor]:
    if not files:
        raise FileNotFoundError(f"{where}: no images.")
    images = torch.empty(len(files), 3, SIZE, SIZE, dtype=torch.uint8)
    for index, (name, _, read) in enumerate(_bar(files, where, progress)):
        image = read()
        if image.size != (SIZE, SIZE):
            raise ValueError(
                f"{name!r} has {image.size[0]} x {image.size[1]} pixels; CIFAR-10 has "
                f"{SIZE} x {SIZE}."
            )
        images[index] = pil_to_tensor(image)
    return images, torch.tensor([label for _, label, _ in files])


def _bar(files: list[_Named], where: str, progress: bool) -> Iterator[_Named]:
    return iter(tqdm(files, f"reading {where}", leave=False, disable=not progress))
