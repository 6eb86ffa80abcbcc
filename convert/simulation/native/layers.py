"""A network's neuron layers as layers of the native engine, kept between calls."""

from dataclasses import replace
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor, fx, nn

from spikeport.convert.graph.nodes import attribute
from spikeport.convert.graph.same_padding import Conv2dSame
from spikeport.convert.neurons import NeuronLayer
from spikeport.convert.simulation.native.plan import (
    Part,
    Plan,
    Spikes,
    Weighted,
    Wire,
    geometry,
    source_of,
)
from spikeport.convert.simulation.native.pools import window_of
from spikeport.cpu.byte_rows import fits_short
from spikeport.cpu.digest import digest
from spikeport.cpu.fresh import filled
from spikeport.cpu.layer import Firing, Layer
from spikeport.cpu.loader import Unsuited
from spikeport.cpu.streams import Stream
from spikeport.cpu.synapses import Geometry, Synapses

KEPT = 4  # layers of one neuron node: sizes of images that come in turns, inputs left to torch


class NativeLayer:
    """A neuron layer and those of its inputs that run on packed spikes.

    Attributes:
        layer: of the engine.
        sources: the nodes whose streams it reads, one for each of its synapses.
    """

    def __init__(self, layer: Layer, sources: list[fx.Node]) -> None:
        self.layer, self.sources = layer, sources


class LayerCache:
    """The engine's layers of one network, built when needed and again when parameters change.

    Several threads may run the network at once.
    """

    def __init__(self, network: nn.Module) -> None:
        self.kinds = _kinds(network)
        self._network = ref(network)  # the cache is kept by the network, not the other way round
        self._plans: dict[frozenset[fx.Node], Plan] = {}
        # by node, and by what a layer depends on beside parameters, the last used at the end
        self._built: dict[fx.Node, dict[Any, tuple[Any, NativeLayer]]] = {}
        self._lock = Lock()

    @property
    def network(self) -> nn.Module:
        """Whose layers these are."""
        network = self._network()
        assert network is not None
        return network

    def plan(self, left: frozenset[fx.Node] = frozenset()) -> Plan:
        """The plan of what the engine runs, without the nodes that are left to torch."""
        if left not in self._plans:
            self._plans[left] = Plan(self.network, left)
        return self._plans[left]

    def value(self, node: fx.Node) -> Tensor:
        """The value of one spike of a packed node, [C]."""
        while node.meta["role"] != "neuron":
            node = source_of(node)
        values: Tensor = self.network.get_submodule(str(node.target)).value  # type: ignore[assignment]
        return values.detach()

    def get(self, node: fx.Node, parts: list[Part], streams: dict[fx.Node, Stream]) -> NativeLayer:
        """The layer of a neuron node.

        Args:
            node: a neuron.
            parts: of its current; those that are no synapses are left to the caller.
            streams: the packed spikes, for their sizes.

        Raises:
            Unsuited: torch has to compute the neurons' current.
        """
        sizes = [
            streams[wire.source].size if self._sized(part, wire) else None
            for part in parts
            if isinstance(part, Weighted)
            for wire in part.wires
        ]
        key, stamp = (tuple(parts), tuple(sizes)), self._stamp(node, parts)
        with self._lock:
            kept = self._built.setdefault(node, {})
            known = kept.pop(key, None)
            if known is not None and known[0] == stamp:
                kept[key] = known
                return known[1]
        built = self._build(node, parts, streams)
        with self._lock:
            kept[key] = (stamp, built)
            while len(kept) > KEPT:
                del kept[next(iter(kept))]
        return built

    def _weight_of(self, part: Spikes) -> Tensor:
        """The current of a spike that is added as it is, [C]."""
        value = self.value(part.source)
        if part.weight is None:
            return value
        weight: Tensor = attribute(self.network, str(part.weight.target)).detach()
        return value * weight.flatten()

    def _sized(self, part: Weighted, wire: Wire) -> bool:
        """Whether synapses depend on the size of the maps."""
        layer = self.network.get_submodule(str(part.node.target))
        return isinstance(layer, (nn.Linear, Conv2dSame)) or wire.pool is not None

    def _stamp(self, node: fx.Node, parts: list[Part]) -> Any:
        """Changes when a parameter or a setting does, however it was written to."""
        neuron: Any = self.network.get_submodule(str(node.target))
        settings = [neuron.model, neuron.low, neuron.high]
        values: list[Tensor] = [neuron.threshold, neuron.v0, neuron.unit]
        for part in parts:
            if isinstance(part, Weighted):
                layer: Any = self.network.get_submodule(str(part.node.target))
                values += [layer.weight, *([] if layer.bias is None else [layer.bias])]
                values += [self.value(wire.source) for wire in part.wires]
                settings += [getattr(layer, name, None) for name in ("stride", "padding")]
                settings += [getattr(layer, name, None) for name in ("dilation", "groups")]
            elif isinstance(part, Spikes):
                values.append(self._weight_of(part))
        return settings, [digest(value) for value in values]

    def _build(
        self, node: fx.Node, parts: list[Part], streams: dict[fx.Node, Stream]
    ) -> NativeLayer:
        neuron: Any = self.network.get_submodule(str(node.target))
        channels = neuron.threshold.numel()
        synapses: list[Synapses] = []
        sources: list[fx.Node] = []
        bias = filled([channels], 0.0)
        for part in parts:
            if isinstance(part, Spikes):
                synapses.append(_identity(self._weight_of(part)))
                sources.append(part.source)
            elif isinstance(part, Weighted):
                layer: Any = self.network.get_submodule(str(part.node.target))
                if isinstance(layer, nn.Linear):
                    self._require_all_inputs(layer, part, streams)
                if layer.bias is not None:
                    bias = bias + layer.bias.detach()
                if not bool(layer.weight.isfinite().all() and bias.isfinite().all()):
                    raise Unsuited(f"'{part.node.target}' has weights that are no numbers")
                for wire in part.wires:
                    value = self.value(wire.source)
                    synapses.append(self._synapses(layer, wire, value, streams[wire.source]))
                    sources.append(wire.source)
        has_bias = bool(bias.any())
        levels = [streams[source].levels for source in sources]
        layer = Layer(
            channels,
            firing_of(neuron),
            synapses,
            bias if has_bias else None,
            integer=neuron.integer,
            floats=not all(map(fits_short, synapses, levels)),
        )
        return NativeLayer(layer, sources)

    def _require_all_inputs(
        self, layer: nn.Linear, part: Weighted, streams: dict[fx.Node, Stream]
    ) -> None:
        """Raise Unsuited unless flattened maps are the inputs of a linear layer, one after another.

        For images of another size, ``view(-1, features)`` may make several rows of a map.
        """
        ends = set()
        for wire in part.wires:
            stream, window = streams[wire.source], self.window(wire, streams[wire.source].size)
            height, width = window or (1, 1)
            pixels = (stream.size[0] // height) * (stream.size[1] // width)
            ends.add(wire.first + stream.channels * pixels)
        if ends != {wire.first for wire in part.wires} - {0} | {layer.in_features}:
            raise Unsuited(f"inputs end at {sorted(ends)} of {layer.in_features}")

    def window(self, wire: Wire, size: tuple[int, int]) -> tuple[int, int] | None:
        """Positions of a map of this size that are one to the layer; None: torch has to pool."""
        return (1, 1) if wire.pool is None else window_of(wire.pool, self.network, size)

    def _synapses(self, layer: Any, wire: Wire, value: Tensor, stream: Stream) -> Synapses:
        window = self.window(wire, stream.size)
        assert window is not None
        if wire.pool is None:
            return _synapses(layer, wire.first, value, stream.channels, stream.size)
        height, width = stream.size[0] // window[0], stream.size[1] // window[1]
        small = _synapses(layer, wire.first, value, stream.channels, (height, width))
        return _pooled(small, window, stream.size)


def firing_of(neuron: NeuronLayer) -> Firing:
    """The engine's description of a neuron layer."""
    threshold = neuron.threshold.detach()
    lowest, highest = neuron._total_bounds(threshold)
    rule = neuron.native_rule
    assert rule is not None  # the plan leaves others to torch
    return Firing(
        *(threshold, neuron.v0.detach(), rule.max_up, rule.max_down, lowest, highest),
        *(rule.leak, rule.hard_reset, rule.potential_bits),
    )


def _identity(value: Tensor) -> Synapses:
    channels = value.numel()
    return Synapses(filled([channels, 1, 1, 1], 1.0), value, Geometry(), channels)


def _synapses(
    layer: Any, first: int, value: Tensor, channels: int, size: tuple[int, int]
) -> Synapses:
    """A layer's weights on maps of ``size`` at its input channels ``first`` and following."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.Linear):
        count = channels * size[0] * size[1]
        weight = weight[:, first : first + count].reshape(len(weight), channels, *size)
        return Synapses(weight, value, Geometry(size))
    where = geometry(layer, size)
    weight = weight.unsqueeze(2) if isinstance(layer, nn.Conv1d) else weight  # of one row
    if layer.groups == 1:
        return Synapses(weight[:, first : first + channels], value, where)
    if channels != layer.in_channels:
        weight = _ungrouped(weight, layer.groups)
        return Synapses(weight[:, first : first + channels], value, where)
    return Synapses(weight, value, where, layer.groups)


def _pooled(part: Synapses, window: tuple[int, int], size: tuple[int, int]) -> Synapses:
    """Synapses on averages over windows, side by side on maps of ``size``, as synapses on the maps.

    They see one averaged position, or all of them.
    """
    weight = part.weight / (window[0] * window[1])
    if part.geometry.kernel == (1, 1):
        where = Geometry(window, window)
        if not part.masked:
            return replace(part, weight=weight, geometry=where, shared=True)
        return replace(part, weight=weight.repeat(1, 1, *window), geometry=where)
    weight = weight.repeat_interleave(window[0], 2).repeat_interleave(window[1], 3)
    rest = (size[0] - weight.shape[2], size[1] - weight.shape[3])  # seen by no window
    weight = nn.functional.pad(weight, (0, rest[1], 0, rest[0]))
    return replace(part, weight=weight, geometry=Geometry(size))


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """[C_out, C_in / groups, ...] as [C_out, C_in, ...] with zeros between the groups."""
    out_channels, per_group = weight.shape[:2]
    full = weight.new_zeros(out_channels, per_group * groups, *weight.shape[2:])
    step = out_channels // groups
    for group in range(groups):
        rows = slice(group * step, (group + 1) * step)
        full[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return full


def _kinds(network: nn.Module) -> list[Any]:
    """Facts that a plan depends on and a pass may change."""
    neurons = [module for module in network.modules() if isinstance(module, NeuronLayer)]
    kinds = [(neuron.model, neuron.threshold.ndim, neuron.channel_dim) for neuron in neurons]
    return kinds + [value.dtype for value in network.parameters()]


_LOCK = Lock()
_CACHES: "WeakKeyDictionary[nn.Module, LayerCache]" = WeakKeyDictionary()


def layers_of(network: nn.Module) -> LayerCache:
    """The cache of a network; it goes when the network goes and is not copied or saved with it."""
    with _LOCK:
        cache = _CACHES.get(network)
        if cache is None or cache.kinds != _kinds(network):
            cache = _CACHES[network] = LayerCache(network)
    return cache
