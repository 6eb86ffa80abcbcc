"""Max pooling of spikes: what the largest running sum in each window grew by."""

import numpy as np
import torch
from torch import Tensor

from spikeport.cpu.loader import EngineError, Unsuited, check, library, threads_or_all
from spikeport.cpu.streams import Stream
from spikeport.cpu.structs import MaxPoolStruct
from spikeport.cpu.synapses import Geometry


def max_pool(
    stream: Stream,
    geometry: Geometry,
    size: tuple[int, int],
    counts: Tensor | None = None,
    *,
    threads: int | None = None,
    path: str = "",
) -> tuple[Stream, Tensor]:
    """Pool a chunk.

    The window's largest sum grows in one timestep by no more than any neuron fires, and all spikes
    of a channel stand for the same value, so the result fits the planes of the source.

    Args:
        stream: spikes n of positive value.
        geometry: the windows.
        size: (H, W) of the output.
        counts: sums of n before the chunk, as returned for the last one; updated in place.
        threads: by default as many as torch uses.
        path: instruction set, by default the best that runs here.

    Returns:
        The pooled spikes, and the sums, int32 [B, H, W, 64·words].

    Raises:
        Unsuited: a window touches no pixel of the image, so that it has no maximum. Dilated and
            padded windows do so on small images.
    """
    height, width = stream.size
    words = int(stream.bits.shape[5])
    shape = (stream.batch, height, width, 64 * words)
    if counts is None:
        counts = torch.from_numpy(np.zeros(shape, np.int32))  # see Stream.density
    if tuple(counts.shape) != shape or counts.dtype != torch.int32:
        raise EngineError(f"counts are {counts.dtype} {list(counts.shape)}; expected {shape}")
    if min(size) < 1 or not _touch(geometry, size, stream.size):
        raise Unsuited(
            f"{geometry} with output size {size}: a window has no pixel of {stream.size}"
        )
    levels = stream.levels
    out = Stream.empty(stream.batch, *size, stream.timesteps, stream.channels, levels)
    struct = MaxPoolStruct(
        stream.struct(),
        *(stream.batch, *size, *geometry.kernel, *geometry.stride, *geometry.padding),
        *geometry.dilation,
        *(counts.data_ptr(), out.bits.data_ptr()),
    )
    check(library().sp_run_maxpool(struct, path.encode(), threads_or_all(threads)))
    return out, counts


def _touch(geometry: Geometry, size: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether every window has a pixel."""
    where = zip(geometry.kernel, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    for (kernel, stride, padding, dilation), count, pixels in zip(where, size, image, strict=True):
        for start in range(-padding, count * stride - padding, stride):
            first = start if start >= 0 else start % dilation  # position inside, or beyond the end
            if first >= pixels or first > start + dilation * (kernel - 1):
                return False
    return True
