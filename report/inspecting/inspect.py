"""Find out which layer loses what: error budget, exact values swapped in, firing statistics."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork, build
from spikeport.convert.batches import stream
from spikeport.convert.calibration_images import without_digests
from spikeport.convert.graph.nodes import call_node
from spikeport.convert.inputs import Input, sizes
from spikeport.convert.neurons import KINDS
from spikeport.convert.neurons.layer import levels_per_timestep, neuron_labels
from spikeport.convert.outputs import flat, is_float, tensors
from spikeport.convert.simulation.chunk_size import bytes_in_time
from spikeport.convert.simulation.run import Run
from spikeport.convert.simulation.timesteps import require_timesteps
from spikeport.report.inspecting.analog_interpreter import Reading
from spikeport.report.inspecting.findings import explain
from spikeport.report.inspecting.graph_pairing import differences, pair
from spikeport.report.inspecting.inspection import Inspection
from spikeport.report.inspecting.integrated_gradients import effects
from spikeport.report.inspecting.layer_errors import error_parts, rms
from spikeport.report.inspecting.layer_tally import LayerTally, NeuronTally
from spikeport.report.inspecting.swap_run import (
    Swap,
    WholeRun,
    exact_activation,
    reference_operation,
)
from spikeport.report.operations.analog_operations import analog_operations
from spikeport.report.operations.synapses import count_synapses
from spikeport.report.sweeping.sweep import _window

USUAL_TIMESTEPS = 16  # where the network was calibrated for no T
SWAP_IMAGES = 4  # exact values are swapped in on the first ones only: one run for each layer
PORTION_BYTES = 2**29  # of the largest tensor over all timesteps


@torch.no_grad()
def inspect(
    network: SpikingNetwork,
    data: Iterable[Any],
    timesteps: int | None = None,
    reference: nn.Module | None = None,
    simplify: Callable[[nn.Module], None] | None = None,
    progress: bool = True,
) -> Inspection:
    """Say where the output error comes from: which layer, which kind, and what would mend it.

    The contributions to the output error are integrated gradients of errors that were measured at
    each layer (equation in ``effects``), each in three parts (``error_parts``). ``gain`` is
    measured: the network is simulated with the layer's exact activation in the layer's place.

    Args:
        network: converted and calibrated.
        data: list or DataLoader of images [B, C, ...] or (images, labels); labels are not used. A
            few images are enough: 8 to 32.
        timesteps: T; by default the one that the network was calibrated for, otherwise 16.
        reference: source network in eval mode. Without it the network is compared with its own
            analog reading, which has the same weights and operations: nothing that is wrong with
            those can be seen.
        simplify: what the conversion was given, see ``trace``; for the reference.
        progress: show a bar when it takes longer than two seconds.

    Returns:
        See ``Inspection``.

    Raises:
        ConversionError: no data, unusable data, timesteps < 1, an uncalibrated network, a
            reference in training mode or of another structure.
    """
    network.check_calibrated()
    if timesteps is None:
        timesteps = network.info.get("calibrated_for_timesteps") or USUAL_TIMESTEPS
    timesteps = require_timesteps(timesteps)
    source = network if reference is None else _converted(network, reference, simplify)
    inspecting = _Inspecting(network, timesteps, source)
    for batch in stream(data, f"inspecting {timesteps} timesteps", progress):
        inspecting.add(network.take_apart(batch).x.detach())
    return inspecting.result(reference is not None)


def _converted(
    network: SpikingNetwork, model: nn.Module, simplify: Callable[[nn.Module], None] | None
) -> SpikingNetwork:
    weights = next(model.parameters(), torch.zeros(()))
    example = network.example().to(weights.device)
    bottlenecks = bool(network.info.get("analog_bottlenecks", False))
    device = next(network.parameters())
    return build(model, example, KINDS["if"], bottlenecks, simplify).to(device)


class _Inspecting:
    """Sums over the batches."""

    def __init__(self, network: SpikingNetwork, timesteps: int, source: SpikingNetwork) -> None:
        self.network, self.timesteps, self.source = network, timesteps, source
        self.start = network.readout_start(timesteps)
        self.pairs = pair(network, source)
        self.different = differences(network, source, self.pairs)
        self.tallies: dict[fx.Node, LayerTally] = {}
        for node in network.graph.nodes:
            if node.meta["role"] == "neuron":
                layer = network.neuron(str(node.target))
                self.tallies[node] = NeuronTally(layer, timesteps)
            elif node in self.different or (node.meta["role"] == "difference" and self.start):
                self.tallies[node] = LayerTally()
        self.images = self.swap_images = 0
        self.squared = self.swap_squared = self.size = 0.0
        self.example: Input | None = None

    def add(self, images: Input) -> None:
        """Inspect one batch, in portions that fit in memory."""
        self.network.check_input(images)
        if self.example is None:
            self.example = images[:1]
        first = images[: max(0, SWAP_IMAGES - self.swap_images)]  # exact values are for these
        for some in (first, images[len(first) :]):
            if len(some):
                for part in some.split(_portion(self.network, images, self.timesteps)):
                    self._add(part)

    def _add(self, x: Input) -> None:
        swaps = self._swaps(x) if self.swap_images < SWAP_IMAGES else {}
        run = WholeRun(self.network, x, self.timesteps, self.start, self._fired, swaps)
        found = run.output()
        clean: dict[fx.Node, list[Tensor]] = {}
        tallied = {self.pairs[node] for node in self.tallies}

        def keep(node: fx.Node, args: Any, kwargs: Any, value: Any) -> Any:
            if node in tallied:
                clean[node] = tensors(value)
            return value

        expected = flat(Reading(self.source, keep).of(x))
        error = found - expected
        self.images += len(x)
        self.squared += float(error.double().square().sum())
        self.size += float(expected.double().square().sum())
        if swaps:
            self.swap_images += len(x)
            self.swap_squared += float(error.double().square().sum())
        for node, output in run.swapped.items():
            self.tallies[node].squared_error += float((output - expected).double().square().sum())
        self._attribute(x, run.emitted, clean, error)

    def _attribute(
        self,
        x: Input,
        emitted: dict[fx.Node, list[Tensor]],
        clean: dict[fx.Node, list[Tensor]],
        error: Tensor,
    ) -> None:
        local = _Local(self, emitted)
        local.run(x)
        errors = {self.pairs[node]: _total(parts) for node, parts in local.parts.items()}
        slopes = effects(self.source, x, errors, error)
        for node, parts in local.parts.items():
            tally, slope = self.tallies[node], slopes[self.pairs[node]]
            for name, values in parts.items():
                tally.parts[name] += sum(
                    float((s * v).double().sum()) for s, v in zip(slope, values, strict=True)
                )
            came, left = local.values[node]
            source = clean[self.pairs[node]]
            tally.add_errors(source, came, left)
            if isinstance(tally, NeuronTally):
                contribution = slope[0] * errors[self.pairs[node]][0]
                tally.add_channels(source[0], local.currents[node], contribution)

    def _fired(self, node: fx.Node, events: Tensor) -> None:
        tally = self.tallies[node]
        assert isinstance(tally, NeuronTally)
        tally.add_spikes(events)

    def _swaps(self, x: Input) -> dict[fx.Node, Swap]:
        found: dict[fx.Node, Swap] = {}
        for node in self.tallies:
            other = self.pairs[node]
            if node.meta["role"] == "neuron":
                found[node] = exact_activation(node, self.source, other)
            elif node in self.different:
                run = Run(self.source, x, None)
                found[node] = reference_operation(run, other, self.pairs)
        return found

    def result(self, compared: bool) -> Inspection:
        """The rows, sorted, and what belongs to the network as a whole."""
        rows = []
        for node, tally in self.tallies.items():
            row = {"layer": node.meta["name"], **tally.row(self.squared, self.swap_squared)}
            rows.append(explain(row, self.network, node, self.different.get(node)))
        rows.sort(key=lambda row: -row["gain"])
        assert self.example is not None
        synapses = count_synapses(self.network, sizes(self.example))
        explained = sum(sum(t.parts.values()) for t in self.tallies.values())
        return Inspection(
            rows,
            explained / self.squared if self.squared else 1.0,
            synapses.spike_driven,
            analog_operations(self.network, synapses),
            self._info(compared),
        )

    def _info(self, compared: bool) -> dict[str, Any]:
        levels = levels_per_timestep(self.network.neurons.values())
        return {
            "neuron_label": neuron_labels(self.network.neurons.values()),
            **without_digests(self.network.info),
            "images": self.images,
            "swap_images": self.swap_images,
            "timesteps": self.timesteps,
            "levels_per_timestep": levels,
            "readout": _window(self.network.readout_delay),
            "latency": "streaming: one sweep of T timesteps",
            "encoding": "constant current",
            "output_error": rms(self.squared, self.size),
            "reference": compared,
        }


class _Local:
    """The network on the means over time of what its neurons emitted: each node's own error.

    Attributes:
        parts: error by part and node.
        values: what the reference's operation makes of the node's inputs, and the node's value.
        currents: mean input current of each neuron layer.
    """

    def __init__(self, owner: _Inspecting, emitted: dict[fx.Node, list[Tensor]]) -> None:
        self.owner, self.emitted = owner, emitted
        self.parts: dict[fx.Node, dict[str, list[Tensor]]] = {}
        self.values: dict[fx.Node, tuple[list[Tensor], list[Tensor]]] = {}
        self.currents: dict[fx.Node, Tensor] = {}
        self.reading = Reading(owner.network, self._at)

    def run(self, x: Input) -> None:
        """Read the network."""
        self.reading.of(x)

    def _at(self, node: fx.Node, args: Any, kwargs: Any, value: Any) -> Any:
        """Note a node's error; the nodes after it read what it emitted."""
        if node not in self.owner.tallies:
            return value
        own = tensors(value)
        emitted = self.emitted.get(node, own)
        came = own
        if node in self.owner.different:
            came = tensors(self._in_reference(node, args))
        neuron = node.meta["role"] == "neuron"
        if neuron:
            layer = self.owner.network.neuron(str(node.target))
            split = error_parts(layer, args[0], emitted[0], self.owner.timesteps, self.owner.start)
            self.parts[node] = {name: [part] for name, part in split._asdict().items()}
            self.currents[node] = args[0]
        else:
            self.parts[node] = {"unevenness": _minus(emitted, own)}
        self.parts[node]["structure"] = _minus(own, came)
        self.values[node] = (came, emitted)
        rest = iter(emitted)
        return pytree.tree_map(lambda v: next(rest) if is_float(v) else v, value)

    def _in_reference(self, node: fx.Node, args: Any) -> Any:
        """The reference's operation on the same inputs."""
        source, other = self.owner.source, self.owner.pairs[node]
        if other.meta["role"] == "neuron":
            return source.neuron(str(other.target)).analog(args[0])
        theirs = {self.owner.pairs[n]: self.reading.env[n] for n in node.all_input_nodes}
        args, kwargs = fx.node.map_arg((other.args, other.kwargs), theirs.__getitem__)
        return call_node(source, other, args, kwargs)


def _minus(values: list[Tensor], others: list[Tensor]) -> list[Tensor]:
    return [value - other for value, other in zip(values, others, strict=True)]


def _total(parts: dict[str, list[Tensor]]) -> list[Tensor]:
    return [torch.stack(each).sum(0) for each in zip(*parts.values(), strict=True)]


def _portion(network: SpikingNetwork, images: Input, timesteps: int) -> int:
    """Images at once: few, so that the largest tensor over all timesteps fits."""
    largest = max(bytes_in_time(network, images[:1]).values())
    return max(1, min(int(PORTION_BYTES / (largest * timesteps)), SWAP_IMAGES))
