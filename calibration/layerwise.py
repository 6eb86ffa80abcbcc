"""One forward over the data in which every layer is adjusted before it fires.

The spiking network and its source run side by side. When a layer's turn comes, everything before
it has been adjusted on the same images, so its passes see the current that it will really get;
then it fires and the next layer follows (Li et al. 2021, "A Free Lunch From ANN", calibrate layer
by layer in this order). The data come in portions that fit in memory; a pass keeps running means,
so that one forward over the data serves all passes of a recipe.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from spikeport.calibration.threshold import check_timesteps
from spikeport.convert import NeuronLayer, SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.graph.nodes import attribute
from spikeport.convert.inputs import Input
from spikeport.convert.saving.layers import own_tensors
from spikeport.convert.simulation.chunk_size import bytes_in_time
from spikeport.convert.simulation.run import Run

PORTION_BYTES = 2**28  # of the largest tensor over all timesteps
READING_BYTES = 2**30  # of all that is noted of the source


@dataclass
class NeuronView:
    """A neuron layer whose turn it is.

    Attributes:
        name: of the layer.
        neuron: whose parameters a pass changes.
        current: what it gets in the spiking network, [T, B, ...], activation units.
        source_current: what it gets in the source network, [B, ...].
        portion: 1 for the first images, 2 for the next, ...
        memory: of one pass for this layer, from portion to portion.
    """

    name: str
    neuron: NeuronLayer
    current: Tensor
    source_current: Tensor
    portion: int
    memory: dict[str, Any]

    @property
    def target(self) -> Tensor:
        """The source network's activation, [B, ...]."""
        return self.neuron.analog(self.source_current)

    def emitted(self) -> Tensor:
        """The layer's emission with its present parameters, [T, B, ...]."""
        return self.neuron(self.current)[0]

    def channel_means(self, values: Tensor) -> Tensor:
        """[..., B, C, ...] values like ``target`` or ``emitted`` as means of each channel.

        Returns:
            [C], or [T, C] for values over time.
        """
        dims = self.source_current.ndim
        lead = values.ndim - dims
        if dims == 1:  # [B] has one channel
            return values.mean(-1, keepdim=True)
        channel = self.neuron.channel_dim % dims + lead
        others = [dim for dim in range(lead, values.ndim) if dim != channel]
        return values.mean(others)


@dataclass
class WeightedView:
    """A convolution or linear layer whose turn it is.

    Attributes:
        name: of the layer.
        layer: whose weights a pass changes.
        mean_input: mean over the timesteps of its input in the spiking network, [B, C, ...].
        target: its output in the source network, [B, C', ...].
        portion: 1 for the first images, 2 for the next, ...
        memory: of one pass for this layer, from portion to portion.
    """

    name: str
    layer: nn.Module
    mean_input: Tensor
    target: Tensor
    portion: int
    memory: dict[str, Any]


@dataclass(frozen=True)
class LayerwisePass:
    """Base of the passes that adjust layer after layer, on the spiking network's own inputs.

    Attributes:
        timesteps: the T to simulate and to adjust for, >= 1.
        changes_weights: whether ``adjust_weights`` does anything.
        sets_thresholds: whether it gives a threshold to a layer that has none yet.
        for_one_T: whether what it sets is good for that T only.
        enough: images that tell it all it asks; if all passes of a forward have seen theirs, the
            forward ends.
    """

    timesteps: int = field(default=0, kw_only=True)
    changes_weights = False
    sets_thresholds = False
    for_one_T = True
    enough: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        check_timesteps(type(self).__name__, self.timesteps)

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Adjust every layer, in order, from one forward over the data."""
        run_layerwise(network, batches, [self], progress)

    def begin(
        self, network: SpikingNetwork, images: Input, memory: dict[str, dict[str, Any]]
    ) -> None:
        """Note something for the layers' turns: ``memory`` holds each view's, by graph node."""

    def adjust(self, view: NeuronView) -> None:
        """Change the parameters of a neuron layer before it fires."""

    def adjust_weights(self, view: WeightedView) -> None:
        """Change the weights of a layer before it is evaluated."""


@torch.no_grad()
def run_layerwise(
    network: SpikingNetwork,
    batches: Iterable[Any],
    passes: Sequence[LayerwisePass],
    progress: bool = True,
) -> None:
    """Run several passes in one forward: at each layer one after the other.

    Args:
        network: with thresholds; adjusted in place.
        batches: list or DataLoader of tensors [B, C, ...] or (tensor, labels) pairs.
        passes: for one and the same number of timesteps.
        progress: show a bar when it takes longer than two seconds.

    Raises:
        ConversionError: no data, unusable data, a neuron without a threshold.
    """
    timesteps = passes[0].timesteps
    weights = any(one.changes_weights for one in passes)
    source = copy.deepcopy(network) if weights else network
    memories: list[dict[str, Any]] = [{} for _ in passes]
    portion, seen = 0, 0
    enough = max(one.enough for one in passes)
    for batch in stream(batches, f"calibrating on {timesteps} timesteps", progress):
        images = network.take_apart(batch).x
        network.check_input(images)
        if portion or not any(one.sets_thresholds for one in passes):
            network.check_calibrated()
        for part in images.split(_portion(network, images, timesteps)):
            if seen >= enough:
                return
            portion += 1
            seen += len(part)
            reading = _reading(source, part, weights)
            for one, memory in zip(passes, memories, strict=True):
                one.begin(network, part, memory)
            _Adjusting(network, part, passes, memories, portion, reading).advance(timesteps)


def _portion(network: SpikingNetwork, images: Input, timesteps: int) -> int:
    """Images at once: the largest tensor over all timesteps fits, and the source's reading."""
    sizes = bytes_in_time(network, images[:1])
    read = sum(size for node, size in sizes.items() if node.meta["role"] in ("neuron", "weighted"))
    simulated = max(sizes.values()) * timesteps
    return max(1, int(1 / max(simulated / PORTION_BYTES, read / READING_BYTES)))


def _reading(source: SpikingNetwork, images: Input, weights: bool) -> dict[str, Tensor]:
    """Each neuron's current and each weighted layer's output in the source network, by node."""
    found: dict[str, Tensor] = {}

    def note(node: fx.Node, args: Any, value: Any) -> None:
        if node.meta["role"] == "neuron":
            found[node.name] = args[0]
        elif node.meta["role"] == "weighted" and weights:
            found[node.name] = value

    source.evaluate(images, note)
    return found


def _weights_of_one_layer(network: SpikingNetwork) -> set[str]:
    """The weighted layers whose parameters no other node reads: what suits one suits the net."""
    used: Counter[int] = Counter()
    for node in network.graph.nodes:
        if node.op == "get_attr":
            used[attribute(network, str(node.target)).data_ptr()] += 1
        elif node.op == "call_module":
            for values in own_tensors(network.get_submodule(str(node.target))).values():
                used[values.data_ptr()] += 1
    return {
        str(node.target)
        for node in network.graph.nodes
        if node.meta["role"] == "weighted"
        and all(
            used[v.data_ptr()] == 1 for v in network.get_submodule(str(node.target)).parameters()
        )
    }


class _Adjusting(Run):
    """A run on torch that calls the passes before a layer is evaluated."""

    def __init__(
        self,
        network: SpikingNetwork,
        x: Input,
        passes: Sequence[LayerwisePass],
        memories: list[dict[str, Any]],
        portion: int,
        source: dict[str, Tensor],
    ) -> None:
        super().__init__(network, x, None)
        self.passes, self.memories = passes, memories
        self.portion, self.source = portion, source
        weights = any(one.changes_weights for one in passes)
        self.adjustable = _weights_of_one_layer(network) if weights else set()

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        if node.meta["role"] == "neuron":
            current = self._unfold(node.args[0], values, steps)
            neuron = self.network.neuron(str(node.target))
            self._each(node, lambda one, view: one.adjust(view), NeuronView, neuron, current)
        elif str(node.target) in self.adjustable:
            folded = self._folded(node.args[0], values, steps)
            layer = self.network.get_submodule(str(node.target))
            mean = folded.unflatten(0, (steps, -1)).mean(0)
            self._each(node, lambda one, view: one.adjust_weights(view), WeightedView, layer, mean)
        return super()._in_time(node, values, steps)

    def _each(
        self, node: fx.Node, call: Callable[[Any, Any], None], view: Any, layer: Any, seen: Tensor
    ) -> None:
        source = self.source.pop(node.name)
        for one, memory in zip(self.passes, self.memories, strict=True):
            own = memory.setdefault(node.name, {})
            shown = (str(node.target), layer, seen, source)
            call(one, view(*shown, self.portion, own))
