"""Convolutions of whole numbers: as floats, and as integers on unfolded patches."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert.simulation.exact_sums import exact_sums
from spikeport.convert.simulation.gpu.int8_products import Int8Layer
from spikeport.scripts.bench.device import quickest
from spikeport.scripts.gpu_check.deadline import Deadline

# input channels, output channels, size of the maps, kernel: of ResNet-18, VGG-16 and a 1×1 layer
SHAPES = (
    (64, 64, 56, 3),
    (128, 128, 28, 3),
    (256, 256, 14, 3),
    (512, 512, 7, 3),
    (256, 512, 14, 1),
)
IMAGES = 128  # timesteps times batch
DENSITY = 0.2


@torch.no_grad()
def measure(device: torch.device, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """``rows``: seconds of each way for each shape, and how far floats are from whole numbers.

    ``float``: with all bits of the operands; ``TF32``, ``half`` and ``channels last`` are other
    floats, to compare with; ``int8``: the product of integers, which is the exact one.
    """
    rows: list[dict[str, Any]] = []
    for shape in SHAPES:
        if not deadline.allows(2.0):
            yield {"rows": rows, "short_of_time": True}
            return
        rows.append(_row(shape, device))
        yield {"rows": rows}


def _row(shape: tuple[int, int, int, int], device: torch.device) -> dict[str, Any]:
    inputs, outputs, size, kernel = shape
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False).to(device)
    layer.weight.copy_(torch.randint(-127, 128, layer.weight.shape))
    x = (torch.rand(IMAGES, inputs, size, size, device=device) < DENSITY).float()
    last = x.to(memory_format=torch.channels_last)
    integers, half = Int8Layer(layer), nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    half.weight.data, half.bias = layer.weight.half(), None
    expected = layer.double()(x.double()).cpu()
    layer.float()
    with exact_sums(device):
        exact: dict[str, Callable[[], Tensor]] = {
            "float": partial(layer, x),
            "channels last": partial(layer, last),
        }
        seconds = {name: quickest(call, device) for name, call in exact.items()}
        off = float((layer(x).cpu().double() - expected).abs().max())
    more: dict[str, Callable[[], Tensor]] = {
        "TF32": partial(layer, x),
        "half": partial(half, x.half()),
        "int8": partial(integers, last),
    }
    seconds |= {name: quickest(call, device) for name, call in more.items()}
    return {
        "shape": list(shape),
        "images": IMAGES,
        "seconds": seconds,
        "float_off_by": off,
        "int8_equal": torch.equal(integers(last).cpu().double(), expected),
    }
