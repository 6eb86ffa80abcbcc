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
        threshold = neuron.threshold.detach().float()
        self.threshold, self.inner = self.layout.parameter(threshold)
        apart = neuron.value is not neuron.threshold
        self.value = self.layout.parameter(neuron.value.detach().float())[0] if apart else None
        self.rules = rules = Rules(*rule[:4], bits=rule.potential_bits or 0)
        lowest, highest = neuron._total_bounds(threshold.to(rules.state_type))
        if neuron.low == 0 and lowest is not None:
            self.rules, lowest = replace(rules, nonnegative=True), None
        self.lowest = None if lowest is None else self.layout.parameter(lowest)[0]
        self.highest = None if highest is None else self.layout.parameter(highest)[0]
        like = current[0].to(rules.state_type)
        self.v = self.layout.row(neuron.per_channel(neuron.v0.detach(), like))
        self.total = torch.zeros_like(self.v, dtype=torch.float32)

    @property
    def spike_value(self) -> Tensor:
        """The value of one spike, float32 [C]."""
        return self.threshold if self.value is None else self.value

    def keep_images(self, rows: Tensor, batch: int) -> None:
        """Go on with these images of the batch only, int64 indices of its B images."""
        self.v, self.total = (
            state.view(batch, -1)[rows].flatten() for state in (self.v, self.total)
        )
        folded = self.layout.shape[0] // batch  # frames or tokens beside the images
        self.layout = replace(self.layout, shape=(folded * len(rows), *self.layout.shape[1:]))

    def values(self, current: Tensor, residual: Tensor | None, steps: int) -> Tensor:
        """Spikes times their value, [t, B, ...], in the currents' dtype.

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
        """Spikes of each neuron, [N], times their value, [B, ...]."""
        images = spikes.view(-1, self.threshold.numel(), self.inner)
        return self.layout.tensor((images * self.spike_value[:, None]).view(1, -1))[0]

    def _scan(
        self, current: Tensor, residual: Tensor | None, steps: int, emit: str, count: bool = False
    ) -> tuple[Tensor, Tensor]:
        if residual is not None and len(current) != steps:
            current = current.expand(steps, *current.shape[1:])
        out, self.v, self.total, counts = scan(
            self.layout.rows(current),
            None if residual is None else self.layout.rows(residual),
            *(self.threshold, self.value, self.lowest, self.highest, self.v, self.total),
            *(self.rules.listed, steps, self.inner, self.time, emit, count),
        )
        self.time += steps
        return out, counts


@dataclass(frozen=True)
class Totals:
    """Emissions between some timesteps of a chunk, added up.

    Attributes:
        sums: float32 [B, ...], by first timestep and the one after the last.
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
        """Spikes times their value, [t, B, ...]."""
        layer = self.layer
        rows = unpack(
            *(self.bits, layer.spike_value, layer.layout.neurons, layer.inner, *self._planes()),
            self.dtype,
        )
        return layer.layout.tensor(rows)

    def pooled(self, pool: nn.AvgPool2d) -> Tensor:
        """Average pool, [t, B, C, rows, columns], in memory like the spikes."""
        layout = self.layer.layout
        sizes = [pair(size) for size in (pool.kernel_size, pool.stride, pool.padding)]
        window, last = [side for pair in sizes for side in pair], layout.channels_last
        out = avgpool(
            *(self.bits, self.layer.spike_value, list(layout.shape), window),
            *(pool.count_include_pad, last, *self._planes(), self.dtype),
        )
        shape = (*layout.shape[:2], *pooled_size(layout.shape, window))
        return Layout(shape, layout.order, 1).tensor(out.flatten(1))

    def weighted(self, layer: nn.Linear) -> Tensor:
        """A linear layer, [t, B, O]."""
        weight = (layer.weight.float() * self.layer.spike_value).t().contiguous()
        bias = None if layer.bias is None else layer.bias.float()
        batch = self.layer.layout.shape[0]
        return linear(self.bits, weight, bias, batch, *self._planes(), self.dtype)

    def _planes(self) -> tuple[int, bool]:
        return self.layer.rules.planes, self.layer.rules.max_down > 0
