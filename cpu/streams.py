"""Packed spikes: bit planes, channels last."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeport.cpu.fresh import uninitialised
from spikeport.cpu.loader import EngineError, check, library, threads_or_all
from spikeport.cpu.structs import StreamStruct, SumsStruct

SAMPLE = 2**16  # words


@dataclass(frozen=True)
class Levels:
    """Spike counts per timestep that a stream can hold.

    Attributes:
        magnitudes: bit planes of abs(n), 1 to 8.
        has_sign: whether n may be negative.
    """

    magnitudes: int
    has_sign: bool

    @classmethod
    def of(cls, max_up: int, max_down: int) -> "Levels":
        """Levels for n in [-max_down, max_up]."""
        magnitudes = max(max_up, max_down).bit_length()
        if not 1 <= magnitudes <= 8:
            raise EngineError(f"{max_up} up, {max_down} down: a stream holds 1 to 255 spikes")
        return cls(magnitudes, max_down > 0)

    @property
    def planes(self) -> int:
        """Bit planes."""
        return self.magnitudes + self.has_sign


@dataclass(frozen=True)
class Stream:
    """The spikes of a layer over the timesteps of a chunk.

    Attributes:
        bits: int64 [B, H, W, T, planes, ceil(C / 64)], contiguous; see ``src/engine.h``.
        channels: C.
        levels: what the planes are.
    """

    bits: Tensor
    channels: int
    levels: Levels

    def __post_init__(self) -> None:
        words = (self.channels + 63) // 64
        shape = tuple(self.bits.shape)
        right = len(shape) == 6 and shape[4:] == (self.levels.planes, words)
        if self.bits.dtype != torch.int64 or not self.bits.is_contiguous() or not right:
            raise EngineError(
                f"a stream's bits are {self.bits.dtype} {list(shape)}; expected contiguous int64 "
                f"[B, H, W, T, {self.levels.planes}, {words}]"
            )

    @classmethod
    def empty(
        cls,
        batch: int,
        height: int,
        width: int,
        timesteps: int,
        channels: int,
        levels: Levels,
        memory: Tensor | None = None,
    ) -> "Stream":
        """Uninitialised.

        Args:
            memory: where it lies, int64 [at least ``words(…)``]; by default fresh.
        """
        count = cls.words(batch, height, width, timesteps, channels, levels)
        if memory is None:
            memory = uninitialised([count], torch.int64)
        shape = (batch, height, width, timesteps, levels.planes, (channels + 63) // 64)
        return cls(memory[:count].view(shape), channels, levels)

    @staticmethod
    def words(
        batch: int, height: int, width: int, timesteps: int, channels: int, levels: Levels
    ) -> int:
        """Words of 64 bits that a stream takes."""
        return batch * height * width * timesteps * levels.planes * ((channels + 63) // 64)

    @property
    def batch(self) -> int:
        """B."""
        return int(self.bits.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.bits.shape[1]), int(self.bits.shape[2])

    @property
    def timesteps(self) -> int:
        """T of the chunk."""
        return int(self.bits.shape[3])

    def between(self, begin: int, end: int) -> "Stream":
        """A copy of timesteps [begin, end)."""
        return Stream(self.bits[:, :, :, begin:end].contiguous(), self.channels, self.levels)

    def struct(self) -> StreamStruct:
        """The engine's struct; valid while the stream lives."""
        return StreamStruct(
            self.bits.data_ptr(),
            *self.size,
            self.timesteps,
            self.channels,
            int(self.bits.shape[5]),
            self.levels.magnitudes,
            int(self.levels.has_sign),
            0,
        )

    def counts(self, threads: int | None = None) -> Tensor:
        """Per timestep: the sum of abs(n), and the number of n that are not 0; int64 [T, 2]."""
        found = uninitialised([self.timesteps, 2], torch.int64)
        check(
            library().sp_count(self.struct(), self.batch, found.data_ptr(), threads_or_all(threads))
        )
        return found

    def sums(self, begin: int = 0, end: int | None = None, **how: Any) -> Tensor:
        """The spikes of timesteps [begin, end) added up: int32 [B, C, H, W], channels last.

        ``threads`` and ``path`` are as for ``Layer.run``.
        """
        shape = (self.batch, *self.size, self.channels)
        out = self._added(0, (begin, end), uninitialised(shape, torch.int32), **how)
        return out.permute(0, 3, 1, 2)

    def totals(self, begin: int = 0, end: int | None = None, **how: Any) -> Tensor:
        """The same of abs(n), all images together: int32 [C, H, W]."""
        shape = (*self.size, self.channels)
        out = self._added(1, (begin, end), uninitialised(shape, torch.int32), **how)
        return out.permute(2, 0, 1)

    def pixel_totals(self, begin: int = 0, end: int | None = None, **how: Any) -> Tensor:
        """The same, all channels together: int64 [H, W]."""
        return self._added(2, (begin, end), uninitialised(self.size, torch.int64), **how)

    def _added(
        self,
        what: int,
        span: tuple[int, int | None],
        out: Tensor,
        threads: int | None = None,
        path: str = "",
    ) -> Tensor:
        begin, end = span[0], self._end(*span)
        struct = SumsStruct(self.struct(), self.batch, begin, end, what, out.data_ptr())
        check(library().sp_run_sums(struct, path.encode(), threads_or_all(threads)))
        return out

    def _end(self, begin: int, end: int | None) -> int:
        end = self.timesteps if end is None else end
        if not 0 <= begin <= end <= self.timesteps:
            raise EngineError(f"timesteps {begin}..{end} of a chunk of {self.timesteps}")
        return end

    @cached_property
    def density(self) -> float:
        """Share of positions, channels and timesteps with spikes, in a sample of the positions."""
        every = 1 + 2 * (self.bits.numel() // (2 * SAMPLE))  # odd: not one column of every image
        # by numpy: torch's threads would spin for milliseconds beside the engine's
        chosen = self.bits.flatten(0, 2).numpy()[::every, None, None]
        sample = torch.from_numpy(np.ascontiguousarray(chosen))
        active = Stream(sample, self.channels, self.levels).counts()[:, 1].sum()
        return float(active) / (len(sample) * self.channels * self.timesteps)

    def unpack(
        self, value: Tensor, begin: int = 0, end: int | None = None, threads: int | None = None
    ) -> Tensor:
        """The emitted values n·value at timesteps [begin, end).

        Args:
            value: what one spike stands for, [C].
            begin: first timestep of the chunk.
            end: after the last; by default all.
            threads: by default as many as torch uses.

        Returns:
            float32 [t, B, C, H, W] in channels-last memory.
        """
        end = self._end(begin, end)
        value = per_channel(value, self.channels, "value")
        out = uninitialised([end - begin, self.batch, *self.size, self.channels])
        check(
            library().sp_unpack(
                self.struct(),
                self.batch,
                begin,
                end,
                value.data_ptr(),
                out.data_ptr(),
                threads_or_all(threads),
            )
        )
        return out.permute(0, 1, 4, 2, 3)


def pack(emitted: Tensor, value: Tensor, levels: Levels, threads: int | None = None) -> Stream:
    """The inverse of ``Stream.unpack``.

    Args:
        emitted: float32 [T, B, C, H, W], whole multiples of ``value``.
        value: what one spike stands for, [C].
        levels: of the result; spike counts that do not fit lose their upper bits.
        threads: by default as many as torch uses.
    """
    if emitted.ndim != 5 or emitted.dtype != torch.float32:
        raise EngineError(
            f"spikes to pack are {emitted.dtype} {list(emitted.shape)}; expected float32 "
            "[T, B, C, H, W]"
        )
    timesteps, batch, channels, height, width = emitted.shape
    value = per_channel(value, channels, "value")
    source = emitted.permute(0, 1, 3, 4, 2).contiguous()
    stream = Stream.empty(batch, height, width, timesteps, channels, levels)
    check(
        library().sp_pack(
            source.data_ptr(),
            batch,
            value.data_ptr(),
            stream.struct(),
            stream.bits.data_ptr(),
            threads_or_all(threads),
        )
    )
    return stream


def per_channel(values: Tensor, channels: int, name: str) -> Tensor:
    """``values`` as contiguous float32 [C]; raises EngineError for another shape."""
    if values.numel() == 1:
        values = values.reshape(1).expand(channels)
    if tuple(values.shape) != (channels,):
        raise EngineError(f"{name} has shape {list(values.shape)}; expected [{channels}]")
    return values.detach().to("cpu", torch.float32).contiguous()
