"""Input tensors as small pictures for a page."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.image import imsave
from torch import Tensor
from torch.nn import functional as F

from spikeport.convert.inputs import Input, tensors_of

SIDE = 128  # longest side of a picture, px
SMALL = 64  # pictures up to here keep every pixel


def image_in(x: Input) -> Tensor | None:
    """The first tensor of an input that is an image, [C, H, W] with C = 1 or 3, or None.

    Args:
        x: one row, [1, C, ...].
    """
    for value in tensors_of(x):
        if value.ndim == 4 and value.shape[1] in (1, 3) and value.is_floating_point():
            return value[0]
    return None


def is_small(x: Input) -> bool:
    """Whether the picture of an input has all its pixels."""
    image = image_in(x)
    return image is not None and max(image.shape[1:]) <= SMALL


def picture(x: Input, config: Mapping[str, Any] | None = None) -> str | None:
    """A ``data:`` address that shows an input, or None where it is no image.

    Args:
        x: one row, [1, C, ...].
        config: with ``mean`` and ``std`` [C], by which the image was normalised; without them its
            darkest value becomes black and its brightest white.
    """
    image = image_in(x)
    if image is None:
        return None
    pixels = image.detach().float().cpu()
    if config is not None and len(config["mean"]) == len(pixels):
        mean, std = (torch.tensor(config[key]).view(-1, 1, 1) for key in ("mean", "std"))
        pixels = pixels * std + mean
    else:
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) / (high - low).clamp_min(1e-9)
    pixels = pixels.clamp(0, 1).expand(3, -1, -1)
    longest = max(pixels.shape[1:])
    if longest > SIDE:
        size = [max(1, round(n * SIDE / longest)) for n in pixels.shape[1:]]
        pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    values = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    kind = "png" if longest <= SMALL else "jpeg"
    file = io.BytesIO()
    imsave(file, values, format=kind, pil_kwargs={"quality": 85} if kind == "jpeg" else None)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
