"""Operations of torch on packed spikes.

Packed spikes are int32 [T, planes * words]: see kernels/packing.cuh. None of these is
differentiable: spikes are whole numbers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spikeport.cuda.launch import THREADS, launch
from spikeport.cuda.shapes import channel_numbers, element_type, groups, vector
from spikeport.cuda.source import Build

ENOUGH_THREADS = 2**18  # to keep the largest GPU busy


@torch.library.custom_op("spikeport::unpack", mutates_args=())
def unpack(
    packed: Tensor,
    value: Tensor,
    neurons: int,
    inner: int,
    planes: int,
    negative: bool,
    dtype: torch.dtype,
) -> Tensor:
    """Spikes times the value of one.

    Args:
        packed: int32 [T, planes * words].
        value: of a spike, float32 [C]: θ, or 1 where spikes are counts.
        neurons: N.
        inner: neighbours in memory that share a channel.
        planes: bit planes of a spike count.
        negative: counts may be below 0.
        dtype: of the result: float32, float16 or bfloat16.

    Returns:
        [T, N].
    """
    values = _unpacked(packed, value, neurons, inner, planes, negative, dtype)
    many = vector(neurons, values)
    per_row = groups(neurons, many)
    launch(
        Build.of("unpack", SP_IN=element_type(dtype), SP_OUT=element_type(dtype), SP_VECTOR=many),
        (per_row, min(len(packed), groups(ENOUGH_THREADS, max(per_row, 1)))),
        packed=packed,
        value=value,
        values=values,
        T=len(packed),
        N=neurons,
        D=packed.shape[1],
        **channel_numbers(neurons, value.numel(), inner),
        planes=planes,
        negative=negative,
    )
    return values


@unpack.register_fake
def _unpacked(
    packed: Tensor,
    value: Tensor,
    neurons: int,
    inner: int,
    planes: int,
    negative: bool,
    dtype: torch.dtype,
) -> Tensor:
    return packed.new_empty((packed.shape[0], neurons), dtype=dtype)


@torch.library.custom_op("spikeport::avgpool", mutates_args=())
def avgpool(
    packed: Tensor,
    value: Tensor,
    maps: Sequence[int],
    window: Sequence[int],
    include_padding: bool,
    channels_last: bool,
    planes: int,
    negative: bool,
    dtype: torch.dtype,
) -> Tensor:
    """Average pool: (sum of the spikes in a window) * value / (its area).

    Args:
        packed: int32 [T, planes * words].
        value: of a spike, float32 [C]: θ, or 1 where spikes are counts.
        maps: B, C, H, W of the spikes.
        window: height, width, stride and padding (each down, then right) of the pool.
        include_padding: zeros beyond the border count in the mean.
        channels_last: the memory of the spikes, and of the result, is [B, H, W, C].
        planes: bit planes of a spike count.
        negative: counts may be below 0.
        dtype: of the result.

    Returns:
        [T, B, C * rows * columns], in memory like the spikes.
    """
    out = _pooled(
        *(packed, value, maps, window, include_padding, channels_last, planes, negative, dtype)
    )
    batch, channels, height, width = maps
    rows, columns = pooled_size(maps, window)
    launch(
        Build.of("avgpool", SP_IN=element_type(dtype), SP_OUT=element_type(dtype)),
        (out.shape[2], batch, len(packed)),
        packed=packed,
        value=value,
        out=out,
        T=len(packed),
        B=batch,
        M=out.shape[2],
        D=packed.shape[1],
        C=channels,
        height=height,
        width=width,
        rows=rows,
        columns=columns,
        kernel_rows=window[0],
        kernel_columns=window[1],
        stride_rows=window[2],
        stride_columns=window[3],
        padding_rows=window[4],
        padding_columns=window[5],
        include_padding=include_padding,
        channels_last=channels_last,
        planes=planes,
        negative=negative,
    )
    return out


@avgpool.register_fake
def _pooled(
    packed: Tensor,
    value: Tensor,
    maps: Sequence[int],
    window: Sequence[int],
    include_padding: bool,
    channels_last: bool,
    planes: int,
    negative: bool,
    dtype: torch.dtype,
) -> Tensor:
    rows, columns = pooled_size(maps, window)
    return packed.new_empty((packed.shape[0], maps[0], maps[1] * rows * columns), dtype=dtype)


def pooled_size(maps: Sequence[int], window: Sequence[int]) -> tuple[int, int]:
    """Rows and columns that an average pool leaves; arguments as for ``avgpool``."""
    rows = (maps[2] + 2 * window[4] - window[0]) // window[2] + 1
    return rows, (maps[3] + 2 * window[5] - window[1]) // window[3] + 1


@torch.library.custom_op("spikeport::linear", mutates_args=())
def linear(
    packed: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    batch: int,
    planes: int,
    negative: bool,
    dtype: torch.dtype,
) -> Tensor:
    """A linear layer that adds up the weights of the inputs that fired, in their order.

    Worth it where few do: it reads the weights of those once for every row.

    Args:
        packed: int32 [T, planes * words] of B rows of I inputs.
        weight: float32 [I, O]: the layer's, transposed, times the value of each input's spike.
        bias: float32 [O], or None.
        batch: B.
        planes: bit planes of a spike count.
        negative: counts may be below 0.
        dtype: of the result.

    Returns:
        [T, B, O].
    """
    out = _weighted(packed, weight, bias, batch, planes, negative, dtype)
    inputs, outputs = weight.shape
    launch(
        Build.of("linear", SP_IN=element_type(dtype), SP_OUT=element_type(dtype)),
        (batch * THREADS, groups(outputs, THREADS), len(packed)),
        packed=packed,
        weight=weight,
        bias=bias,
        out=out,
        T=len(packed),
        B=batch,
        D=packed.shape[1],
        I=inputs,
        O=outputs,
        planes=planes,
        negative=negative,
    )
    return out


@linear.register_fake
def _weighted(
    packed: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    batch: int,
    planes: int,
    negative: bool,
    dtype: torch.dtype,
) -> Tensor:
    return packed.new_empty((packed.shape[0], batch, weight.shape[1]), dtype=dtype)
