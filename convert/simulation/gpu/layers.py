"""A layer of neurons with its state on the GPU, and what its kernel hands on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from spikeport.convert.graph.same_padding import pair
from spikeport.convert.neurons import NeuronLayer
from spikeport.cuda.layout import Layout
from spikeport.cuda.packed import avgpool, linear, pooled_size, unpack
from spikeport.cuda.rules import Rules
from spikeport.cuda.scan import scan


class FiringLayer:
    """The neurons of one layer while a batch is presented.

    Args:
        neuron: of the network.
        current: of the first chunk, [t, B, ...]: how the neurons lie in memory.
    """

    def __init__(self, neuron: NeuronLayer, current: Tensor) -> None:
        rule = neuron.native_rule
        assert rule is not None  # the run leaves others to torch
        self.layout, self.time = Layout.of(current, neuron.channel_dim), 0
        threshold = neuron.threshold.float()
        self.threshold, self.inner = self.layout.parameter(threshold)
        lowest, highest = neuron._total_bounds(threshold.detach())
        nonnegative = neuron.low == 0 and lowest is not None
        self.lowest = None if lowest is None or nonnegative else self.layout.parameter(lowest)[0]
        self.highest = None if highest is None else self.layout.parameter(highest)[0]
        self.rules = Rules(*rule[:4], nonnegative)
        like = current[0].float()
        self.v = self.layout.row(neuron.per_channel(neuron.v0, like))
        self.total = torch.zeros_like(self.v)

    def keep_images(self, rows: Tensor, batch: int) -> None:
        """Go on with these images of the batch only, int64 indices of its B images."""
        self.v, self.total = (
            state.view(batch, -1)[rows].flatten() for state in (self.v, self.total)
        )
        folded = self.layout.shape[0] // batch  # frames or tokens beside the images
        self.layout = replace(self.layout, shape=(folded * len(rows), *self.layout.shape[1:]))

    def values(self, current: Tensor, residual: Tensor | None, steps: int) -> Tensor:
        """Spikes times threshold, [t, B, ...], in the currents' dtype.

        Args:
            current: [t, B, ...], or [1, B, ...] for the same at every timestep.
            residual: added to it, [t, B, ...], or None.
            steps: t.
        """
        return self.layout.tensor(self._scan(current, residual, steps, "values")[0])

    def packed(self, current: Tensor, residual: Tensor | None, steps: int) -> "Packed":
        """The spikes as bits; arguments as for ``values``."""
        out, counts = self._scan(current, residual, steps, "packed", count=True)
        return Packed(self, out, counts, current.dtype)

    def totals(self, current: Tensor, residual: Tensor | None, ends: Sequence[int]) -> "Totals":
        """The sums between some timesteps of the chunk alone, in ascending order."""
        sums, begin = {}, 0
        for end in sorted(set(ends)):
            before, span = self.total, slice(begin, end)
            now = current if len(current) == 1 else current[span]
            more = None if residual is None else residual[span]
            self._scan(now, more, end - begin, "nothing")
            sums[begin, end] = self._value_of(self.total - before)
            begin = end
        return Totals(sums)

    def _value_of(self, spikes: Tensor) -> Tensor:
        """Spikes of each neuron, [N], times threshold, [B, ...]."""
        images = spikes.view(-1, self.threshold.numel(), self.inner)
        return self.layout.tensor((images * self.threshold[:, None]).view(1, -1))[0]

    def _scan(
        self, current: Tensor, residual: Tensor | None, steps: int, emit: str, count: bool = False
    ) -> tuple[Tensor, Tensor]:
        if residual is not None and len(current) != steps:
            current = current.expand(steps, *current.shape[1:])
        out, self.v, self.total, counts = scan(
            self.layout.rows(current),
            None if residual is None else self.layout.rows(residual),
            *(self.threshold, self.lowest, self.highest, self.v, self.total),
            *(self.rules.listed, steps, self.inner, self.time, emit, count),
        )
        self.time += steps
        return out, counts


@dataclass(frozen=True)
class Totals:
    """Emissions between some timesteps of a chunk, added up.

    Attributes:
        sums: float32 [B, ...], activation units, by first timestep and the one after the last.
    """

    sums: dict[tuple[int, int], Tensor]

    def between(self, begin: int, end: int) -> Tensor:
        """The sum over timesteps [begin, end)."""
        return self.sums[begin, end]


@dataclass(frozen=True)
class Packed:
    """The spikes of a chunk as bits.

    Attributes:
        layer: that fired.
        bits: int32 [t, planes * words].
        counts: spikes of each channel, int64 [C].
        dtype: of the currents, and of what becomes of the spikes.
    """

    layer: FiringLayer
    bits: Tensor
    counts: Tensor
    dtype: torch.dtype

    def density(self) -> float:
        """Spikes per neuron and timestep."""
        return float(self.counts.sum()) / (len(self.bits) * self.layer.layout.neurons)

    def values(self) -> Tensor:
        """Spikes times threshold, [t, B, ...]."""
        layer = self.layer
        rows = unpack(
            *(self.bits, layer.threshold, layer.layout.neurons, layer.inner, *self._planes()),
            self.dtype,
        )
        return layer.layout.tensor(rows)

    def pooled(self, pool: nn.AvgPool2d) -> Tensor:
        """Average pool, [t, B, C, rows, columns], in memory like the spikes."""
        layout = self.layer.layout
        sizes = [pair(size) for size in (pool.kernel_size, pool.stride, pool.padding)]
        window, last = [side for pair in sizes for side in pair], layout.channels_last
        out = avgpool(
            *(self.bits, self.layer.threshold, list(layout.shape), window),
            *(pool.count_include_pad, last, *self._planes(), self.dtype),
        )
        shape = (*layout.shape[:2], *pooled_size(layout.shape, window))
        return Layout(shape, layout.order, 1).tensor(out.flatten(1))

    def weighted(self, layer: nn.Linear) -> Tensor:
        """A linear layer, [t, B, O]."""
        weight = (layer.weight.float() * self.layer.threshold).t().contiguous()
        bias = None if layer.bias is None else layer.bias.float()
        batch = self.layer.layout.shape[0]
        return linear(self.bits, weight, bias, batch, *self._planes(), self.dtype)

    def _planes(self) -> tuple[int, bool]:
        return self.layer.rules.planes, self.layer.rules.max_down > 0
