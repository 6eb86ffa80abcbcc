"""Weights in the layout in which the engine reads them."""

import ctypes
from dataclasses import dataclass, replace
from math import lcm

import torch
from torch import Tensor

from spikeport.cpu.fresh import filled
from spikeport.cpu.loader import EngineError, Unsuited
from spikeport.cpu.streams import per_channel
from spikeport.cpu.structs import BlockStruct

WIDEST = 64  # output channels in registers at once; a word of spikes


@dataclass(frozen=True)
class Geometry:
    """Input positions that an output position sees, each as (y, x).

    Attributes:
        kernel: size of the window.
        stride: from one output position to the next.
        padding: rows and columns before the image.
        dilation: from one window position to the next.
        padding_end: rows and columns after the image; by default as many as before it.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    padding_end: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise EngineError(f"{self}: kernel, stride and dilation are >= 1, padding >= 0")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of the output for an input of this size."""
        ends = self.padding if self.padding_end is None else self.padding_end
        inner = [
            size + before + after - dilation * (kernel - 1) - 1
            for size, before, after, dilation, kernel in zip(
                (height, width), self.padding, ends, self.dilation, self.kernel, strict=True
            )
        ]
        return inner[0] // self.stride[0] + 1, inner[1] // self.stride[1] + 1


@dataclass(frozen=True)
class Synapses:
    """Connections from one stream of spikes.

    Attributes:
        weight: [C_out, C_in / groups, kernel_y, kernel_x]; with groups == C_in == C_out they run
            on the depthwise kernel.
        value: what one spike of each input channel stands for (the sender's threshold), [C_in].
        geometry: where the inputs of an output position are.
        groups: of channels that see each other only.
        shared: every kernel position has the same weights, given once, [C_out, C_in / groups, 1,
            1]: what an average pool before a 1x1 convolution amounts to. Not for depthwise ones.
    """

    weight: Tensor
    value: Tensor
    geometry: Geometry = Geometry()
    groups: int = 1
    shared: bool = False

    def __post_init__(self) -> None:
        shape, groups = tuple(self.weight.shape), self.groups
        kernel = (1, 1) if self.shared else self.geometry.kernel
        fits = len(shape) == 4 and shape[2:] == kernel and shape[0] % groups == 0
        if not fits or (self.shared and self.masked):
            raise EngineError(
                f"weights {list(shape)} in {groups} groups do not fit a kernel of "
                f"{self.geometry.kernel}; expected [C_out, C_in / groups, kernel_y, kernel_x]"
            )
        per_channel(self.value, self.in_channels, "value")

    @property
    def in_channels(self) -> int:
        """C_in."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def out_channels(self) -> int:
        """C_out."""
        return int(self.weight.shape[0])

    @property
    def masked(self) -> bool:
        """Whether every output channel reads the input channel of the same number only."""
        return self.groups == self.in_channels == self.out_channels

    def merged(self) -> "Synapses":
        """Weights with groups narrower than a block put together, zeros between them.

        Adding the zeros is quicker than to look for the spikes of every small group by itself.
        """
        if self.masked or self.groups == 1:
            return self
        step = self.out_channels // self.groups
        fitting = (m for m in range(self.groups, 0, -1) if self.groups % m == 0)
        together = next((m for m in fitting if m * step <= WIDEST), 1)
        if together == 1:
            return self
        parts = self.weight.detach().unflatten(0, (self.groups // together, together, step))
        weight = parts.new_zeros(*parts.shape[:3], together, *parts.shape[3:])
        for index in range(together):
            weight[:, index, :, index] = parts[:, index]
        return replace(
            self,
            weight=weight.flatten(3, 4).flatten(0, 2),
            groups=self.groups // together,
        )

    @property
    def row_groups(self) -> int:
        """Groups that the blocks of output channels have to respect."""
        return 1 if self.masked else self.groups


@dataclass(frozen=True)
class Blocks:
    """Output channels cut into blocks of at most 64, each inside one group of every synapse."""

    first: tuple[int, ...]
    count: tuple[int, ...]

    @classmethod
    def cut(cls, channels: int, groups: list[int]) -> "Blocks":
        """Blocks for synapses with these numbers of groups."""
        group = channels // lcm(*groups)
        starts = [low + at for low in range(0, channels, group) for at in range(0, group, WIDEST)]
        ends = [*starts[1:], channels]
        return cls(tuple(starts), tuple(b - a for a, b in zip(starts, ends, strict=True)))

    @property
    def width(self) -> list[int]:
        """Floats per block: the count rounded up to a vector."""
        return [-(-count // 16) * 16 for count in self.count]

    @property
    def padded(self) -> int:
        """Sum of the widths."""
        return sum(self.width)

    @property
    def row(self) -> int:
        """Floats from one weight row to the next: 16, 32 or 64."""
        widest = max(self.width)
        return next(size for size in (16, 32, 64) if size >= widest)

    def structs(self) -> "ctypes.Array[BlockStruct]":
        """The engine's structs."""
        found, offset = [], 0
        for index, (first, count, width) in enumerate(
            zip(self.first, self.count, self.width, strict=True)
        ):
            found.append(BlockStruct(first, count, width, offset, index))
            offset += width
        return (BlockStruct * len(found))(*found)

    def spread(self, values: Tensor, padding: float = 0.0) -> Tensor:
        """Lay out [..., C] by block: [..., padded], with ``padding`` in the gaps."""
        out = filled([*values.shape[:-1], self.padded], padding)
        offset = 0
        for first, count, width in zip(self.first, self.count, self.width, strict=True):
            out[..., offset : offset + count] = values[..., first : first + count]
            offset += width
        return out


def folded(synapses: Synapses) -> Tensor:
    """The weights times the senders' values, float32 of the weights' shape."""
    weight = synapses.weight.detach().to("cpu", torch.float32)
    value = per_channel(synapses.value, synapses.in_channels, "value")
    per_group = value.view(synapses.groups, 1, -1, 1, 1)
    return (weight.unflatten(0, (synapses.groups, -1)) * per_group).flatten(0, 1)


def arrange(synapses: Synapses, blocks: Blocks) -> Tensor:
    """The weights times the senders' values, as the engine's ``sp_term.weights``."""
    taps = folded(synapses).flatten(2).permute(2, 1, 0)  # [taps, C_in / groups, C_out]
    spans = list(zip(blocks.first, blocks.count, blocks.width, strict=True))
    if synapses.masked:
        parts = []
        for first, count, width in spans:
            part = filled([taps.shape[0], width], 0.0)
            part[:, :count] = taps[:, 0, first : first + count]
            parts.append(part.flatten())
        return torch.cat(parts)
    out = filled([len(spans), *taps.shape[:2], blocks.row], 0.0)
    if out[0].numel() * 4 >= 2**32:
        raise Unsuited(f"{taps.shape[0] * taps.shape[1]} inputs of a neuron are too many")
    for index, (first, count, _) in enumerate(spans):
        out[index, :, :, :count] = taps[:, :, first : first + count]
    return out
