"""A layer of neurons with all the synapses and currents that feed it."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from spikeport.cpu.fresh import uninitialised
from spikeport.cpu.loader import EngineError, Unsuited, check, library, threads_or_all
from spikeport.cpu.streams import Levels, Stream, per_channel
from spikeport.cpu.structs import (
    CurrentStruct,
    LayerStruct,
    NeuronStruct,
    TermStruct,
)
from spikeport.cpu.synapses import Blocks, Synapses, arrange

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
    """

    threshold: Tensor
    v0: Tensor
    max_up: int = 1
    max_down: int = 0
    lowest: Tensor | None = None
    highest: Tensor | None = None
    leak: float = 1.0
    hard_reset: bool = False


@dataclass
class LayerState:
    """The state of a layer between two chunks.

    Attributes:
        v: potentials, float32 [B, H, W, padded channels]; None if they were not wanted.
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
    """

    def __init__(
        self,
        channels: int,
        firing: Firing,
        synapses: Sequence[Synapses] = (),
        bias: Tensor | None = None,
    ) -> None:
        wrong = [part for part in synapses if part.out_channels != channels]
        if wrong:
            raise EngineError(f"synapses to {wrong[0].out_channels} of {channels} channels")
        self.channels, self.synapses = channels, [part.merged() for part in synapses]
        self.levels = Levels.of(firing.max_up, firing.max_down)
        self.blocks = Blocks.cut(channels, [part.row_groups for part in self.synapses] or [1])
        self.bounded = firing.lowest is not None or firing.highest is not None
        self._weights = [arrange(part, self.blocks) for part in self.synapses]
        self._firing = firing
        self._parameters = {
            "threshold": self._spread(firing.threshold, 1.0),
            "v0": self._spread(firing.v0, 0.5),
            "bias": self._spread(bias, 0.0),
            "lowest": self._spread(firing.lowest, 0.0),
            "highest": self._spread(firing.highest, 0.0),
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
                memory (channels-last); 1 for what is the same at every timestep.
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
                uninitialised(shape) if keep else None,
                uninitialised(shape) if self.bounded else None,
            )
        elif state.v is None or tuple(state.v.shape) != (batch, height, width, self.blocks.padded):
            found = "none" if state.v is None else f"of another shape, {list(state.v.shape)}"
            raise EngineError(f"the state is {found}")
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
        struct = LayerStruct(
            *(batch, height, width, self.channels, timesteps, begin, end, state.past),
            *(len(self.blocks.first), self.blocks.padded, len(terms), len(extra)),
            *(int(fresh), tile, int(log2(4 * self.blocks.row)), split, 0),
            *(ctypes.addressof(blocks), ctypes.addressof(terms), ctypes.addressof(extra)),
            self._neuron(),
            *(_pointer(state.v), _pointer(state.total), out.bits.data_ptr()),
            *(self.levels.magnitudes, int(self.levels.has_sign)),
        )
        check(library().sp_run_layer(struct, path.encode(), threads_or_all(threads)))
        state.past += end - begin
        return out, state

    def split_for(self, streams: Sequence[Stream]) -> int:
        """The quickest ``split`` for ``run`` on streams of such densities."""
        for stream, part in zip(streams, self.synapses, strict=True):
            channels = part.in_channels // part.groups
            few = ROWS_PER_PORTION if channels >= PORTION else ROWS_PER_SMALL_PORTION
            if not part.masked and stream.density * min(PORTION, channels) >= few:
                return PORTION
        block = max((4 * weights[0].numel() for weights in self._gathered()), default=0)
        return WIDE_PORTION if block > BLOCK_BYTES else 0

    def _gathered(self) -> list[Tensor]:
        """Weights by block."""
        both = zip(self._weights, self.synapses, strict=True)
        return [weights for weights, part in both if not part.masked]

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

    def _spread(self, values: Tensor | None, padding: float) -> Tensor | None:
        if values is None:
            return None
        return self.blocks.spread(per_channel(values, self.channels, "parameter"), padding)

    def _neuron(self) -> NeuronStruct:
        firing = self._firing
        return NeuronStruct(
            *(_pointer(values) for values in self._parameters.values()),
            *(firing.max_up, firing.max_down, int(firing.hard_reset), 0, firing.leak),
        )

    def _term(self, index: int, stream: Stream) -> TermStruct:
        part = self.synapses[index]
        where = part.geometry
        return TermStruct(
            stream.struct(),
            self._weights[index].data_ptr(),
            *(int(part.masked), part.row_groups),
            *(*where.kernel, *where.stride, *where.padding, *where.dilation),
            *(int(part.shared), 0),
        )

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


def _pointer(values: Tensor | None) -> int | None:
    return None if values is None else values.data_ptr()
