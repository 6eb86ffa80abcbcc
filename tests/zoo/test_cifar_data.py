"""CIFAR-10 from folders, from a .zip file and from the original files."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from spikeport.zoo.cifar_data import CLASSES, read_split

TRAIN, TEST = 2, 1  # images per class


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    root = tmp_path / "data"
    for split, count in (("train", TRAIN), ("test", TEST)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = torch.randint(256, (32, 32, 3), generator=generator, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(root / split / name / f"{index}.png")
    return root


def zipped(folder: Path) -> Path:
    file = folder.with_suffix(".zip")
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):  # the order must not matter
            archive.write(path, path.relative_to(folder))
        archive.writestr("train/notes.txt", "neither an image nor a class")
    return file


def test_folder_order_is_cifar10s() -> None:
    assert tuple(sorted(CLASSES)) == CLASSES


@pytest.mark.parametrize("split", ["train", "test"])
def test_folder_and_zip_agree(folder: Path, split: str) -> None:
    images, labels = read_split(folder, split)
    again, same_labels = read_split(zipped(folder), split, progress=False)
    count = TRAIN if split == "train" else TEST
    assert images.shape == (10 * count, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [label for label in range(10) for _ in range(count)]
    assert torch.equal(images, again)
    assert torch.equal(labels, same_labels)


def test_original_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / CIFAR10.base_folder
    root.mkdir()
    pixels = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    batch = {"data": pixels.reshape(4, -1).numpy(), "labels": [3, 1, 9, 0]}
    (root / "test_batch").write_bytes(pickle.dumps(batch))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    with pytest.raises(FileNotFoundError, match="is incomplete: Dataset not found or corrupted"):
        read_split(tmp_path, "test")
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    images, labels = read_split(tmp_path, "test")
    assert torch.equal(images, pixels)
    assert labels.tolist() == batch["labels"]


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'val': expected one of train, test"):
        read_split(folder, "val")
    with pytest.raises(
        FileNotFoundError, match=r"nowhere': no such \.zip file, and no folder 'test'"
    ):
        read_split(tmp_path / "nowhere", "test")
    Image.new("RGB", (40, 32)).save(folder / "test" / "frog" / "0.png")
    with pytest.raises(ValueError, match=r"frog/0\.png' has 40 x 32 pixels"):
        read_split(folder, "test")
    with pytest.raises(ValueError, match=r"test/frog/0\.png' has 40 x 32 pixels"):
        read_split(zipped(folder), "test")
    (folder / "train" / "frog").rename(folder / "train" / "toad")
    for source in (folder, zipped(folder)):
        with pytest.raises(ValueError, match=r"dog, horse, ship, toad, truck; expected .* frog,"):
            read_split(source, "train")
    (tmp_path / "no.zip").write_text("text")
    with pytest.raises(ValueError, match=r"no\.zip': File is not a zip file"):
        read_split(tmp_path / "no.zip", "test")
