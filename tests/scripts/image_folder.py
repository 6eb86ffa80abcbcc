"""Folders of images, by class, for commands."""

from pathlib import Path

import torch
from PIL import Image


def write_images(folder: Path, height: int, width: int) -> Path:
    """Four random images of each of the classes 0 and 7; returns their folder in ``folder``."""
    torch.manual_seed(0)
    for label in ("0", "7"):
        (folder / "images" / label).mkdir(parents=True)
        for index in range(4):
            pixels = (torch.rand(height, width, 3) * 255).byte().numpy()
            Image.fromarray(pixels).save(folder / "images" / label / f"{index}.png")
    return folder / "images"
