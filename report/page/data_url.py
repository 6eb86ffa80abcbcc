"""Input tensors as small pictures for a page."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.image import imsave
from torch import Tensor
from torch.nn import functional as F

SIDE = 128  # longest side of a picture, px
SMALL = 64  # pictures up to here keep every pixel


def picture(image: Tensor, config: Mapping[str, Any] | None = None) -> str | None:
    """A ``data:`` address that shows an input, or None where it is no image.

    Args:
        image: [C, H, W], C = 1 or 3; other shapes have no picture.
        config: with ``mean`` and ``std`` [C], by which the image was normalised; without them its
            darkest value becomes black and its brightest white.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
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
