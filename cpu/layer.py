"""A layer of neurons with all the synapses and currents that feed it."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import torch
from torch import Tensor

from spikeport.cpu.byte_rows import Codes, arrange_bytes, codes, reach, rows_in_short
from spikeport.cpu.fresh import uninitialised
from spikeport.cpu.loader import EngineError, Unsuited, check, library, threads_or_all
from spikeport.cpu.streams import Levels, Stream, per_channel
from spikeport.cpu.structs import (
    CurrentStruct,
    LayerStruct,
    NeuronStruct,
    TermStruct,
)
from spikeport.cpu.synapses import WIDEST, Blocks, Synapses, arrange

TILE = 16  # output positions that a thread takes at once
PORTION = 128  # input channels: their weights to 64 outputs fill two thirds of an L1 cache
# Rows added per portion from which on taking portions pays for writing the sums to memory
# between them: of whole portions, measured at 128 to 512 channels, and of smaller ones, at 64.
ROWS_PER_PORTION, ROWS_PER_SMALL_PORTION = 4, 8
# Weights to 64 outputs that do not stay in the L2 cache (bytes) are taken in wider portions: the
# lists are shorter, and each weight comes from memory once per chunk. VGG's first linear layer, 8
# images and 32 timesteps at 5 % density, takes a third of the time.
BLOCK_BYTES = 2**20
WIDE_PORTION = 512
# The same of an integer layer: rows are a quarter as long, so that a wide portion fills the L1
# cache, and all weights to 64 outputs that take BYTES_AT_ONCE are quick to read at any density.
BYTE_ROWS_PER_PORTION = 30
BYTES_AT_ONCE = 48 * 1024
ROOM = 2**30  # that a potential and a timestep's inputs of an integer layer may have in 32 bits
EXACT = 2**24  # floats hold all whole numbers below it


@dataclass(frozen=True)
class Firing:
    """The firing of a layer's neurons; the update is that of ``convert.neurons.step``.

    Attributes:
        threshold: [C], activation units.
        v0: potential before the first timestep, [C].
        max_up: most spikes in one timestep.
        max_down: most negative spikes in one timestep.
        lowest: lower bound of the mean spike count per timestep so far, [C], or None.
        highest: upper bound of it, [C], or None.
        leak: factor on the potential before each timestep.
        hard_reset: firing empties the potential.
        potential_bits: width of the potential, a whole number: it saturates, and a leak rounds it.
            None: a float.
    """

    threshold: Tensor
    v0: Tensor
    max_up: int = 1
    max_down: int = 0
    lowest: Tensor | None = None
    highest: Tensor | None = None
    leak: float = 1.0
    hard_reset: bool = False
    potential_bits: int | None = None


@dataclass
class LayerState:
    """The state of a layer between two chunks.

    Attributes:
        v: potentials, float32 or (in bytes) int32 [B, H, W, padded channels]; None if they were
            not wanted.
        total: spikes so far, likewise; None where no bound needs it.
        past: timesteps so far.
    """

    v: Tensor | None
    total: Tensor | None
    past: int = 0

    def keep(self, rows: Tensor) -> None:
        """Go on with these images of the batch only, int64 indices."""
        self.v = None if self.v is None else self.v[rows]
        self.total = None if self.total is None else self.total[rows]


class Layer:
    """Neurons and their synapses, prepared once and run chunk by chunk.

    Args:
        channels: C.
        firing: how the neurons fire.
        synapses: one for each stream passed to ``run``.
        bias: constant current per channel, [C], or None.
        integer: threshold, v0, bias, weights times values and all currents are whole numbers. The
            layer then runs in bytes, exactly, if the weights fit them.
        floats: an integer layer runs in floats all the same; its spikes are the same.

    Attributes:
        in_bytes: whether weights are bytes and potentials 32-bit integers.
    """

    def __init__(
        self,
        channels: int,
        firing: Firing,
        synapses: Sequence[Synapses] = (),
        bias: Tensor | None = None,
        *,
        integer: bool = False,
        floats: bool = False,
    ) -> None:
        wrong = [part for part in synapses if part.out_channels != channels]
        if wrong:
            raise EngineError(f"synapses to {wrong[0].out_channels} of {channels} channels")
        self.channels, self.synapses = channels, [part.merged() for part in synapses]
        self.levels = Levels.of(firing.max_up, firing.max_down)
        self.blocks = Blocks.cut(channels, [part.row_groups for part in self.synapses] or [1])
        self.bounded = firing.lowest is not None or firing.highest is not None
        self._firing, self._bias = firing, bias
        if integer:
            _require_whole(threshold=firing.threshold, v0=firing.v0, bias=bias)
        rounds = firing.leak == 1 or firing.potential_bits is not None
        found = [codes(part) for part in self.synapses if integer and rounds and not floats]
        self._codes = [each for each in found if each is not None]
        complete = len(self._codes) == len(self.synapses)
        self.in_bytes = integer and rounds and not floats and complete
        self._weights: dict[Any, Tensor] = {}  # by the synapses' index, and what they depend on
        self._limits: dict[Any, tuple[int, int]] = {}
        self._shifts = [self._spread_shifts(each) for each in self._codes if self.in_bytes]
        self._parameters = {
            "threshold": self._spread(firing.threshold, 1, self.in_bytes),
            "v0": self._spread(firing.v0, 0.5, self.in_bytes),
            "bias": self._spread(bias, 0, self.in_bytes),
            "lowest": self._spread(firing.lowest, 0),
            "highest": self._spread(firing.highest, 0),
        }

    def run(
        self,
        streams: Sequence[Stream],
        currents: Sequence[Tensor] = (),
        state: LayerState | None = None,
        shape: tuple[int, int, int, int] | None = None,
        *,
        part: tuple[int, int] | None = None,
        out: Stream | None = None,
        keep: bool = True,
        threads: int | None = None,
        path: str = "",
        tile: int = TILE,
        split: int = 0,
    ) -> tuple[Stream, LayerState]:
        """Simulate the timesteps of a chunk.

        Args:
            streams: spikes for each of the synapses, of one chunk.
            currents: added as they are, float32 [T or 1, B, C, H, W] with channels innermost in
                memory (channels-last); 1 for what is the same at every timestep. In an integer
                layer below 2^24, and whole, unless nothing else feeds it and it has
                ``potential_bits``: then their sum is rounded.
            state: where the last chunk ended, updated in place; None to start.
            shape: (T, B, H, W) of the output, needed if there are no streams.
            part: simulate timesteps [begin, end) of the chunk only; the currents are those of
                the part. By default all.
            out: where the spikes go, such as the stream from the call for the part before.
            keep: without it, the potentials after the last timestep are not written down.
            threads: by default as many as torch uses; the result does not depend on it.
            path: instruction set, by default the best that runs here.
            tile: output positions that a thread takes at once.
            split: 0 where spikes are few. Otherwise weights are taken in portions of one kernel
                position and this many input channels, which stay in the L1 cache; the order of
                the sums depends on it.

        Returns:
            The spikes and the state after them.
        """
        timesteps, batch, height, width = self._shape(streams, shape)
        fresh = state is None
        if state is None:
            shape = (batch, height, width, self.blocks.padded)
            state = LayerState(
                uninitialised(shape, self._state_type) if keep else None,
                uninitialised(shape, self._state_type) if self.bounded else None,
            )
        else:
            self._check(state, (batch, height, width, self.blocks.padded))
        begin, end = part or (0, timesteps)
        if out is None:
            out = Stream.empty(batch, height, width, timesteps, self.channels, self.levels)
        blocks = self.blocks.structs()
        terms = (TermStruct * len(streams))(
            *(self._term(i, stream) for i, stream in enumerate(streams))
        )
        extra = (CurrentStruct * len(currents))(
            *(self._current(c, (end - begin, batch, height, width)) for c in currents)
        )
        last = state.past + end - begin
        struct = LayerStruct(
            *(batch, height, width, self.channels, timesteps, begin, end, state.past),
            *(len(self.blocks.first), self.blocks.padded, len(terms), len(extra)),
            *(int(fresh), tile, split, self._kind),
            *(ctypes.addressof(blocks), ctypes.addressof(terms), ctypes.addressof(extra)),
            self._neuron(self._potential_bits(streams, len(currents), last)),
            *(_pointer(state.v), _pointer(state.total), out.bits.data_ptr()),
            *(self.levels.magnitudes, int(self.levels.has_sign)),
        )
        check(library().sp_run_layer(struct, path.encode(), threads_or_all(threads)))
        state.past += end - begin
        return out, state

    def split_for(self, streams: Sequence[Stream]) -> int:
        """The quickest ``split`` for ``run`` on streams of such densities."""
        if self.in_bytes:
            return self._split_of_bytes(streams)
        for stream, part in zip(streams, self.synapses, strict=True):
            channels = part.in_channels // part.groups
            few = ROWS_PER_PORTION if channels >= PORTION else ROWS_PER_SMALL_PORTION
            if not part.masked and stream.density * min(PORTION, channels) >= few:
                return PORTION
        rows = [part.weight[0].numel() for part in self.synapses if not part.masked]
        large = 4 * self.blocks.row * max(rows, default=0) > BLOCK_BYTES
        return WIDE_PORTION if large else 0

    def _split_of_bytes(self, streams: Sequence[Stream]) -> int:
        for stream, part in zip(streams, self.synapses, strict=True):
            size = WIDEST * part.weight[0].numel()
            if part.masked or size <= BYTES_AT_ONCE:
                continue
            channels = min(WIDE_PORTION, part.in_channels // part.groups)
            if size > BLOCK_BYTES or stream.density * channels >= BYTE_ROWS_PER_PORTION:
                return WIDE_PORTION
        return 0

    def _shape(
        self, streams: Sequence[Stream], shape: tuple[int, int, int, int] | None
    ) -> tuple[int, int, int, int]:
        if len(streams) != len(self.synapses):
            raise EngineError(f"{len(streams)} streams for {len(self.synapses)} synapses")
        found = {
            (stream.timesteps, stream.batch, *part.geometry.output_size(*stream.size))
            for stream, part in zip(streams, self.synapses, strict=True)
        }
        wrong = [
            (stream, part)
            for stream, part in zip(streams, self.synapses, strict=True)
            if stream.channels != part.in_channels
        ]
        if wrong:
            raise EngineError(
                f"a stream of {wrong[0][0].channels} channels for synapses from "
                f"{wrong[0][1].in_channels}"
            )
        if shape is not None:
            found.add(shape)
        if len(found) != 1 or min(next(iter(found))) < 1:
            raise Unsuited(f"the inputs lead to the output shapes {sorted(found)}; expected one")
        return found.pop()

    def _check(self, state: LayerState, shape: tuple[int, ...]) -> None:
        if state.v is None:
            raise EngineError("the state is none")
        found, expected = (state.v.dtype, tuple(state.v.shape)), (self._state_type, shape)
        if found != expected:
            raise EngineError(
                f"the state is of another shape or type, {found[0]} {list(found[1])}; expected "
                f"{expected[0]} {list(expected[1])}"
            )

    @property
    def _kind(self) -> int:
        """See ``sp_layer.integer``: currents by themselves are rounded, as torch rounds them."""
        rounded = self._firing.potential_bits is not None and not self.synapses
        return (1 + rounded) if self.in_bytes else 0

    @property
    def _state_type(self) -> torch.dtype:
        return torch.int32 if self.in_bytes else torch.float32

    def _spread(self, values: Tensor | None, padding: float, whole: bool = False) -> Tensor | None:
        if values is None:
            return None
        spread = self.blocks.spread(per_channel(values, self.channels, "parameter"), padding)
        return spread.to(torch.int32) if whole else spread

    def _spread_shifts(self, found: Codes) -> Tensor | None:
        return None if found.shifts is None else self._spread(found.shifts, 0, True)

    def _potential_bits(self, streams: Sequence[Stream], currents: int, timesteps: int) -> int:
        """The width at which potentials saturate; 0 where none does."""
        bits = self._firing.potential_bits
        if not self.in_bytes:
            if bits is not None and bits > 24:
                raise Unsuited("floats do not hold potentials of more than 24 bits")
            return bits or 0
        both = enumerate(zip(self.synapses, streams, strict=True))
        reached = sum(self._limit(i, part, stream)[1] for i, (part, stream) in both)
        reached += 0 if self._bias is None else int(self._bias.abs().max())
        reached += EXACT * currents
        if reached >= ROOM:
            raise Unsuited(f"the sums of a timestep may reach {reached}; expected < 2^30")
        if bits is not None:
            return bits
        start = int(self._firing.v0.abs().max())
        return 31 if start + timesteps * reached >= ROOM else 0

    def _neuron(self, potential_bits: int) -> NeuronStruct:
        firing = self._firing
        return NeuronStruct(
            *(_pointer(values) for values in self._parameters.values()),
            *(firing.max_up, firing.max_down, int(firing.hard_reset), potential_bits),
            firing.leak,
        )

    def _term(self, index: int, stream: Stream) -> TermStruct:
        part = self.synapses[index]
        where, signs = part.geometry, stream.levels.has_sign and self.in_bytes
        shift = 6 + signs if self.in_bytes else int(log2(4 * self.blocks.row))
        limit = self._limit(index, part, stream)[0] if self.in_bytes else 0
        return TermStruct(
            stream.struct(),
            self._arranged(index, signs).data_ptr(),
            *(int(part.masked), part.row_groups),
            *(*where.kernel, *where.stride, *where.padding, *where.dilation),
            *(int(part.shared), shift, limit, 0),
            _pointer(self._shifts[index]) if self.in_bytes else None,
        )

    def _arranged(self, index: int, signs: bool) -> Tensor:
        """The weights as the engine reads them."""
        if (index, signs) not in self._weights:
            part = self.synapses[index]
            made = (
                arrange_bytes(self._codes[index], part.masked, self.blocks, signs)
                if self.in_bytes
                else arrange(part, self.blocks)
            )
            self._weights[index, signs] = made
        return self._weights[index, signs]

    def _limit(self, index: int, part: Synapses, stream: Stream) -> tuple[int, int]:
        """Rows that may be added in 16 bits, and the largest sum of a timestep."""
        key = index, stream.levels
        if key not in self._limits:
            rows = rows_in_short(self._codes[index], part.masked, stream.levels)
            if rows < 1:
                raise Unsuited(f"a weight times spikes of {stream.levels} exceeds 16 bits")
            self._limits[key] = rows, reach(part, stream.levels)
        return self._limits[key]

    def _current(self, current: Tensor, shape: tuple[int, int, int, int]) -> CurrentStruct:
        timesteps, batch, height, width = shape
        wanted = (batch, self.channels, height, width)
        if (
            current.dtype != torch.float32
            or current.device.type != "cpu"
            or tuple(current.shape[1:]) != wanted
            or current.shape[0] not in (1, timesteps)
            or (current.stride(2) != 1 and self.channels > 1)
        ):
            raise Unsuited(
                f"a current is {current.dtype} {list(current.shape)} with strides "
                f"{list(current.stride())}; expected float32 [{timesteps} or 1, "
                f"{', '.join(map(str, wanted))}] with channels innermost"
            )
        per_step = current.stride(0) if current.shape[0] > 1 else 0
        return CurrentStruct(
            current.data_ptr(), current.stride(1), current.stride(3), current.stride(4), per_step
        )


def _require_whole(**named: Tensor | None) -> None:
    """Raise EngineError unless these are whole numbers that floats hold exactly."""
    for name, values in named.items():
        if values is not None and not bool(
            ((values == values.round()) & (values.abs() < EXACT)).all()
        ):
            raise EngineError(f"the {name} of an integer layer is not whole, or beyond 2^24")


def _pointer(values: Tensor | None) -> int | None:
    return None if values is None else values.data_ptr()
