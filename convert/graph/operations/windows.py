"""Windows of pools: how many spikes an average delivers, and those that the engine takes."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.same_padding import SamePadded, pad_same


def pair(value: Any) -> tuple[Any, Any]:
    """(rows, columns) of what may be given as one number."""
    return (value[0], value[-1]) if isinstance(value, (tuple, list)) else (value, value)


def averaged_spikes(call: Call, count: Tensor) -> Tensor:
    """Spikes that each window of an average pool delivers."""
    sizes = {
        "kernel_size": call.argument("kernel_size"),
        "stride": call.argument("stride") or call.argument("kernel_size"),
        "padding": call.argument("padding", 0),
    }
    ceil_mode = bool(call.argument("ceil_mode", False))
    same: bool = isinstance(call.module, SamePadded)
    if same:
        count, sizes["padding"] = pad_same(count, call.module, 0.0), 0
    spatial = int(call.node.meta["op"][-2])
    if spatial == 1:
        flat = {"kernel_size": 1, "stride": 1, "padding": 0}
        wide: Any = {key: (flat[key], _single(value)) for key, value in sizes.items()}
        pooled = F.avg_pool2d(count.unsqueeze(-2), **wide, ceil_mode=ceil_mode, divisor_override=1)
        return pooled.squeeze(-2)
    pool: Any = F.avg_pool2d if spatial == 2 else F.avg_pool3d
    return pool(count, **sizes, ceil_mode=ceil_mode, divisor_override=1)


def adaptively_averaged_spikes(call: Call, count: Tensor) -> Tensor:
    """Spikes that each window of an adaptive average pool delivers."""
    pooled = call.evaluated(lambda node: count if node is call.source else call.values[node])
    for dim in range(-int(call.node.meta["op"][-2]), 0):
        sizes = _window_sizes(count.shape[dim], pooled.shape[dim]).to(count)
        pooled = pooled * sizes.view([-1] + [1] * (-dim - 1))
    return pooled


def summed_spikes(call: Call, count: Tensor) -> Tensor:
    """Spikes that the mean over some dimensions delivers."""
    dims = call.argument("dim")
    dims = tuple(range(count.ndim)) if dims is None else dims
    return count.sum(dims, bool(call.argument("keepdim", False)))


def side_by_side(call: Call, size: tuple[int, int]) -> tuple[int, int] | None:
    """Windows of an average pool without padding that cover maps of (H, W) without overlap."""
    kernel = call.argument("kernel_size")
    stride = call.argument("stride") or kernel
    if isinstance(call.module, SamePadded) or not (_known(kernel) and _known(stride)):
        return None
    kernel, stride = pair(kernel), pair(stride)
    fits = all(n >= k for n, k in zip(size, kernel, strict=True))
    uneven = any(n % k for n, k in zip(size, kernel, strict=True))
    padded = max(pair(call.argument("padding", 0))) > 0 or call.argument("divisor_override")
    cut = uneven and call.argument("ceil_mode", False)
    return kernel if stride == kernel and fits and not padded and not cut else None


def adaptive_side_by_side(call: Call, size: tuple[int, int]) -> tuple[int, int] | None:
    """Windows of an adaptive average pool of maps of (H, W), if it divides them evenly."""
    wanted = call.argument("output_size")
    if not _known(wanted):
        return None
    sides = [n if out is None else out for n, out in zip(size, pair(wanted), strict=True)]
    if any(n % out for n, out in zip(size, sides, strict=True)):
        return None
    return size[0] // sides[0], size[1] // sides[1]


def whole_map(call: Call, size: tuple[int, int]) -> tuple[int, int] | None:
    """The map itself, for a mean over its two dimensions."""
    dims = call.argument("dim")
    if call.given("dtype") is not None or not _known(dims) or not isinstance(dims, (tuple, list)):
        return None
    return size if sorted(dim % 4 for dim in dims) == [2, 3] else None


def _known(value: Any) -> bool:
    """Whether a size is a number, or several, already."""
    values = value if isinstance(value, (tuple, list)) else [value]
    return all(one is None or isinstance(one, int) for one in values)


def _single(value: Any) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value


def _window_sizes(size: int, out: int) -> Tensor:
    """Lengths of adaptive pooling's windows [floor(i·n/m), ceil((i+1)·n/m))."""
    return torch.tensor([math.ceil((i + 1) * size / out) - i * size // out for i in range(out)])
