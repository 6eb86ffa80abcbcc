"""Units of currents, and the whole numbers of the layers and neurons that have them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.graph.weight_grid import WeightGrid, grid_of
from spikeport.convert.integers.groups import Group
from spikeport.convert.integers.layouts import as_rows, channel_axis, from_rows
from spikeport.convert.integers.moments import Moments
from spikeport.convert.integers.rewriting import WholeLayer
from spikeport.convert.integers.settings import BITS, Quantization
from spikeport.convert.integers.thresholds import Unit, unit_of
from spikeport.convert.integers.weights import LARGEST, WeightCode, finest_unit, with_feedback
from spikeport.convert.neurons import Neuron, NeuronLayer

LARGEST_BIAS = 2.0**21  # units: beside it sums of weights stay exact


class Maker:
    """Units of groups, and what their layers and neurons become.

    Args:
        network: whose layers; neurons get their whole numbers here.
        settings: of the call.
        sizes: value of a spike at each weight, by node.
        moments: of layers' inputs, by node.
    """

    def __init__(
        self,
        network: SpikingGraph,
        settings: Quantization,
        sizes: Mapping[fx.Node, Tensor | None],
        moments: Mapping[fx.Node, Moments],
    ) -> None:
        self.network, self.settings, self.sizes, self.moments = network, settings, sizes, moments

    def group(
        self,
        group: Group,
        values: Mapping[fx.Node, Any],
        layers: dict[fx.Node, WholeLayer],
        potentials: dict[fx.Node, Tensor],
        sums: dict[fx.Node, Tensor],
    ) -> None:
        """Set the numbers of a group's neurons, and enter its layers and units."""
        neurons = [self.network.neuron(str(node.target)) for node in group.neurons]
        inside = [node for node in group.layers if self._alike(node, group, values)]
        if not neurons and not inside:
            return
        finest = [self._finest(node) for node in inside]
        unit = unit_of(
            torch.stack(finest).amax(0) if finest else None,
            _threshold(neurons[0]).double() if neurons else None,
            self.settings.potential_bits,
            self.settings.powers_of_two,
            on_grid=all(self._own(node) is not None for node in inside),
        )
        for node in inside:
            layers[node] = self._whole(node, unit, on_spikes=True)
        for node, neuron in zip(group.neurons, neurons, strict=True):
            _make_integer(neuron, unit.size, self.settings)
            potentials[node] = unit.size
        for node in group.sums:
            like = values[node]
            axis = (
                neurons[0].channel_dim
                if neurons
                else channel_axis(self._layer(inside[0]), like.ndim)
            )
            sides = [1] * like.ndim
            sides[axis] = -1
            sums[node] = unit.size.view(sides).expand(like.shape)

    def alone(self, node: fx.Node, on_spikes: bool) -> WholeLayer:
        """A layer whose current meets no other: its weights alone decide about the unit."""
        unit = unit_of(
            self._finest(node), None, self.settings.potential_bits, self.settings.powers_of_two
        )
        return self._whole(node, unit, on_spikes)

    def _alike(self, node: fx.Node, group: Group, values: Mapping[fx.Node, Any]) -> bool:
        """Whether the channels of a layer are those of the group's neurons."""
        if not group.neurons:
            return not group.sums or len(group.layers) == 1
        rank = values[node].ndim
        axis = self.network.neuron(str(group.neurons[0].target)).channel_dim
        return channel_axis(self._layer(node), rank) == axis % rank

    def _layer(self, node: fx.Node) -> Any:
        return self.network.get_submodule(str(node.target))

    def _rows(self, node: fx.Node) -> Tensor:
        """Current of a spike through each weight, [G, C / G, N]."""
        layer, sizes = self._layer(node), self.sizes[node]
        weight = layer.weight.detach().double()
        return as_rows(layer, weight if sizes is None else weight * sizes)

    def _own(self, node: fx.Node) -> WeightGrid | None:
        """The whole numbers that the weights have from training, if these bits hold them and
        every spike that the layer reads has one value."""
        sizes, found = self.sizes[node], grid_of(self._layer(node))
        if found is None or sizes is None or not torch.allclose(sizes, sizes.flatten()[0]):
            return None
        most = WeightCode(self.settings.bits(node), torch.zeros(())).most
        per_row = (
            found.scale.numel() == as_rows(self._layer(node), found.integers).shape[:2].numel()
        )
        return found if per_row and int(found.integers.abs().max()) <= most else None

    def _bits(self, node: fx.Node) -> int:
        """Bits of a layer's codes; of its own whole numbers as many as they have."""
        own = self._own(node)
        return self.settings.bits(node) if own is None else max(own.bits, BITS[0])

    def _finest(self, node: fx.Node) -> Tensor:
        bits, own, sizes = self._bits(node), self._own(node), self.sizes[node]
        if own is not None and sizes is not None:
            return own.scale.flatten().double() * sizes.flatten()[0] / 2 ** (LARGEST - bits)
        return finest_unit(self._rows(node).flatten(0, 1), bits, clip=bits < 6)

    def _whole(self, node: fx.Node, unit: Unit, on_spikes: bool) -> WholeLayer:
        layer, rows, bits = self._layer(node), self._rows(node), self._bits(node)
        code = WeightCode(bits, unit.shift + LARGEST - bits)
        own = self._own(node)
        kept = own is not None and self._is_own(code, unit, node)
        if own is not None and not kept:  # a sum with others has made the unit another one
            bits = self.settings.bits(node)
            code = WeightCode(bits, unit.shift + LARGEST - bits)
        bias = None if layer.bias is None else layer.bias.detach().double() / unit.size
        if own is not None and kept:
            codes = as_rows(layer, own.integers.double())
            whole = codes * (2.0**code.shift).view(len(rows), -1, 1)
        elif node in self.moments:
            groups = rows.shape[0]
            mean, products = self._in_spikes(node)
            by_group = WeightCode(bits, code.shift.view(groups, -1))
            whole = with_feedback(rows, unit.size.view(groups, -1), by_group, products)
            lost = rows / unit.size.view(groups, -1, 1) - whole
            if bias is not None:
                bias = bias + torch.einsum("gcn,gn->gc", lost, mean).flatten()
        else:
            whole = code.nearest(rows.flatten(0, 1), unit.size).view(rows.shape)
        if bias is not None and on_spikes:
            # one that is thousands of thresholds, as of a channel that never varies, says no more
            bias = bias.round().clamp(-LARGEST_BIAS, LARGEST_BIAS) + 0.0  # no negative zeros
        return WholeLayer(from_rows(layer, whole), bias, unit.size, on_spikes)

    def _is_own(self, code: WeightCode, unit: Unit, node: fx.Node) -> bool:
        """Whether a code's step is that of the layer's own whole numbers, up to half a unit of a
        threshold."""
        ratio = code.step(unit.size) / (self._finest(node) * 2.0 ** (LARGEST - code.bits))
        return bool(((ratio - 1).abs() < 0.1).all())

    def _in_spikes(self, node: fx.Node) -> tuple[Tensor, Tensor]:
        """Moments of a layer's input in spikes."""
        mean, products = self.moments[node].averaged()
        sizes = self.sizes[node]
        if sizes is None:
            return mean, products
        each = as_rows(self._layer(node), sizes)[:, 0]  # [G, N], of every output channel
        each = torch.where(each != 0, each, 1.0)
        return mean / each, products / (each[:, :, None] * each[:, None, :])


def _threshold(neuron: NeuronLayer) -> Tensor:
    """The smallest threshold of each channel, [C]."""
    theta = neuron.threshold.detach()
    return theta if theta.ndim == 1 else theta.flatten(1).amin(1)


def _make_integer(neuron: NeuronLayer, unit: Tensor, settings: Quantization) -> None:
    """Set the whole numbers of a neuron layer.

    Args:
        neuron: with float numbers; changed.
        unit: activation units, [C].
        settings: of the call.
    """
    theta = neuron.threshold.detach()
    each = unit.view(-1, *[1] * (theta.ndim - 1)).expand(theta.shape)

    def whole(values: Tensor) -> nn.Parameter:
        found = (values.double() / each).round() + 0.0  # no negative zeros
        return nn.Parameter(found.to(theta), requires_grad=False)

    threshold = whole(theta).clamp_min(1.0)
    v0 = whole(neuron.v0.detach().expand(theta.shape))
    by_channel = ((neuron.correction.detach().double() / unit).round() + 0.0).to(theta)
    neuron.threshold = nn.Parameter(threshold, requires_grad=False)
    neuron.v0 = v0
    neuron.correction = nn.Parameter(by_channel, requires_grad=False)
    neuron.unit = nn.Parameter(each.to(theta).clone(), requires_grad=False)
    neuron.spike_value = nn.Parameter(torch.ones_like(theta), requires_grad=False)
    neuron.model = _with_width(neuron.model, settings.potential_bits)


def _with_width(model: Any, bits: int) -> Neuron:
    return Neuron(model.max_up, model.max_down, model.leak, model.hard_reset, bits)
