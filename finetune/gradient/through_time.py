"""One presentation of a batch with gradients: all timesteps at once, by chunks, or one by one.

- BPTT: the whole graph at once, memory linear in T.
- Checkpointed (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): only the states
  between chunks are kept, a chunk is computed once more for its gradient; the same gradient.
- SLTT (Meng et al. 2023, "Towards Memory- and Time-Efficient Backpropagation for Training Spiking
  Neural Networks"): no gradient from one timestep to another; memory does not depend on T.
- OTTT (Xiao et al. 2022, "Online Training Through Time for Spiking Neural Networks"): as SLTT, but
  the gradient of a weight at time t meets the trace of its inputs, Σ_τ≤t λ^(t−τ)·s[τ] with the
  leak λ, instead of the input s[t] (their eq. 9).
- Quantized: no time at all. Every neuron gives the spikes of T timesteps at once, as it would under
  a constant current z, θ/T·clip(⌊(T·z + v0)/θ⌋, 0, T) for a binary one: the activation of Bu et al.
  2022, "Optimal ANN-SNN Conversion for High-accuracy and Ultra-low-latency Spiking Neural
  Networks" (QCFS), at the cost of one timestep. That spikes come early or late is not seen.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.inputs import Input
from spikeport.convert.simulation.run import Run, map_tensors
from spikeport.finetune.gradient.compiled_graph import OneGraph
from spikeport.finetune.gradient.record import NOTED, Record, joined, statistics
from spikeport.finetune.neuron.scan_step import Scanned
from spikeport.finetune.neuron.trainable import TrainableNeuron, trainable_neurons

METHODS = ("bptt", "sltt", "ottt", "quantized")
STATISTICS = frozenset(NOTED)
OFFSETS = ("bias", "offset")  # parameters of layers that are added, whatever the input


class TrainingRun(Run):
    """A run that notes what the losses want.

    Args:
        network: trainable.
        x: [B, C, ...], or several inputs.
        wants: statistics to note, of STATISTICS; spikes are noted anyway, for the log.
    """

    def __init__(self, network: SpikingNetwork, x: Input, wants: frozenset[str]) -> None:
        super().__init__(network, x, None)
        self.wants = wants
        self.noted: dict[str, dict[str, Tensor]] = {}
        self.neurons: dict[str, int] = {}

    def part(self, steps: int) -> Record:
        """The next timesteps; statistics are sums over them."""
        self.noted = {name: {} for name in NOTED}
        outputs = self.advance(steps)
        outputs = map_tensors(lambda value: value.float(), outputs)
        return Record(outputs, **self.noted, neurons=self.neurons)

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        if node.meta["role"] != "neuron":
            return super()._in_time(node, values, steps)
        name, current = str(node.target), self._unfold(node.args[0], values, steps)
        neuron = self.network.neuron(name)
        assert isinstance(neuron, TrainableNeuron)
        found = self._fire(node, neuron, current)
        self._note(name, neuron, found)
        return found.emitted.flatten(0, 1)

    def _fire(self, node: fx.Node, neuron: TrainableNeuron, current: Tensor) -> Scanned:
        found, self.state[node] = neuron.fire(current, self.state.get(node))
        return found

    def _note(self, name: str, neuron: TrainableNeuron, found: Scanned) -> None:
        self.neurons[name] = found.emitted[0, 0].numel()
        for kind, value in statistics(neuron, found, self.wants).items():
            self.noted[kind][name] = value


class QuantizedRun(TrainingRun):
    """A run of one timestep in which neurons give the spikes of several.

    Args:
        network: trainable.
        x: [B, C, ...], or several inputs.
        wants: statistics to note.
        timesteps: T.
    """

    def __init__(
        self, network: SpikingNetwork, x: Input, wants: frozenset[str], timesteps: int
    ) -> None:
        super().__init__(network, x, wants)
        self.timesteps = timesteps

    def _fire(self, node: fx.Node, neuron: TrainableNeuron, current: Tensor) -> Scanned:
        return neuron.fire_at_once(current, self.timesteps)


class OnlineRun(TrainingRun):
    """A run of single timesteps that no gradient connects; see SLTT and OTTT above.

    Args:
        network: trainable, its neurons ``online``.
        x: [B, C, ...], or several inputs.
        wants: statistics to note.
        leak: that of all neurons for OTTT; None for SLTT.
    """

    def __init__(
        self, network: SpikingNetwork, x: Input, wants: frozenset[str], leak: float | None
    ) -> None:
        super().__init__(network, x, wants)
        self.leak = leak
        self.seen = 0.0  # trace of a constant 1
        # what all timesteps share gets its gradient once, from the sum of theirs
        self.shared = [
            (node, value)
            for node, value in self.static.items()
            if node.meta["role"] == "static" and isinstance(value, Tensor) and value.requires_grad
        ]
        self.leaves = [value.detach().requires_grad_() for _, value in self.shared]

    def part(self, steps: int) -> Record:
        """The next timestep."""
        self.state = pytree.tree_map_only(Tensor, torch.Tensor.detach, self.state)
        self.seen = 1.0 if self.leak is None else self.leak * self.seen + 1
        for (node, _), leaf in zip(self.shared, self.leaves, strict=True):
            self.static[node] = _scaled_gradient(leaf, self.seen)
        return super().part(steps)

    def finish(self) -> None:
        """The gradients of what the timesteps shared."""
        pairs = zip(self.shared, self.leaves, strict=True)
        found = [(value, leaf.grad) for (_, value), leaf in pairs if leaf.grad is not None]
        if found:
            torch.autograd.backward([value for value, _ in found], [grad for _, grad in found])

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        weighs = node.op == "call_module" and node.meta["role"] in ("weighted", "linear")
        if self.leak is None or not weighs:
            return super()._in_time(node, values, steps)
        module = self.network.get_submodule(str(node.target))
        parameters = dict(module.named_parameters())
        if not parameters:
            return super()._in_time(node, values, steps)
        x = self._folded(node.args[0], values, steps)
        trace = x.detach() + (self.leak * self.state[node] if node in self.state else 0)
        self.state[node] = trace
        fixed = {name: value.detach() for name, value in parameters.items()}
        value = torch.func.functional_call(module, fixed, (x,))
        traced = {n: v * self.seen if n in OFFSETS else v for n, v in parameters.items()}
        credit = torch.func.functional_call(module, traced, (trace,))
        return value + (credit - credit.detach())


def present(
    network: SpikingNetwork,
    x: Input,
    timesteps: int,
    wants: frozenset[str] = frozenset(),
    chunk: int | None = None,
) -> Record:
    """Run a trainable network, with the graph for backpropagation through time.

    Args:
        network: from ``make_trainable``.
        x: [B, C, ...], or several inputs.
        timesteps: T.
        wants: statistics for the losses, of STATISTICS.
        chunk: timesteps between the states that are kept; None keeps everything.
    """
    run = TrainingRun(network, x, wants)
    start = network.readout_start(timesteps)
    if chunk is None or chunk >= timesteps:
        return joined([run.part(timesteps)], start, timesteps)

    def segment(time: int, state: Any, steps: int) -> tuple[Record, Any]:
        run.time, run.state = time, pytree.tree_map(lambda leaf: leaf, state)
        return run.part(steps), run.state

    def parts() -> Iterator[Record]:
        state: Any = {}
        for time in range(0, timesteps, chunk):
            steps = min(chunk, timesteps - time)
            part, state = checkpoint(segment, time, state, steps, use_reentrant=False)
            yield part

    return joined(parts(), start, timesteps)


def present_at_once(
    network: SpikingNetwork, x: Input, timesteps: int, wants: frozenset[str] = frozenset()
) -> Record:
    """``present`` as a quantized network: each neuron gives its spikes of all timesteps in one.

    Args:
        network: from ``make_trainable``, of neurons without a leak or a hard reset.
        x: [B, C, ...], or several inputs.
        timesteps: T.
        wants: statistics for the losses, without those of potentials.
    """
    return joined([QuantizedRun(network, x, wants, timesteps).part(1)], 0, 1)


def learn_online(
    network: SpikingNetwork,
    x: Input,
    timesteps: int,
    wants: frozenset[str],
    loss: Callable[[Record], Tensor],
    method: str,
) -> Record:
    """Add SLTT's or OTTT's gradients to the parameters', one timestep in memory at a time.

    The losses read means over time, so a first run without gradients finds what they say of each
    timestep, and a second one passes it on. Parameters that are used outside a module (as in
    ``x * self.gain``) have no trace: OTTT gives them SLTT's gradient.

    Args:
        network: from ``make_trainable``.
        x: [B, C, ...], or several inputs.
        timesteps: T.
        wants: statistics for the loss.
        loss: of a record, a scalar.
        method: "sltt" or "ottt".

    Returns:
        The record of the run, without gradients.

    Raises:
        ConversionError: OTTT with leaks that differ or are trained.
    """
    start = network.readout_start(timesteps)
    leak = _one_leak(network) if method == "ottt" else None
    with torch.no_grad():
        first = TrainingRun(network, x, wants)
        record = joined((first.part(1) for _ in range(timesteps)), start, timesteps)
    leaves = record.each(lambda value: value.detach().requires_grad_())
    found = torch.autograd.grad(loss(leaves), leaves.tensors(), allow_unused=True)
    count = len(leaves.output_tensors())
    by_output, of_statistics = found[:count], found[count:]
    for neuron in trainable_neurons(network).values():
        neuron.online, neuron.traced = True, method == "ottt"
    try:
        run = OnlineRun(network, x, wants, leak)
        for time in range(timesteps):
            values = run.part(1).tensors()
            pairs = [
                (v, g / timesteps)
                for v, g in zip(values[count:], of_statistics, strict=True)
                if g is not None
            ]
            if time >= start:
                now = zip(values[:count], by_output, strict=True)
                pairs += [(v, g[time - start][None]) for v, g in now if g is not None]
            pairs = [(value, grad) for value, grad in pairs if value.requires_grad]
            torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])
        run.finish()
    finally:
        for neuron in trainable_neurons(network).values():
            neuron.online = neuron.traced = False
    return record


def _one_leak(network: SpikingNetwork) -> float:
    layers = trainable_neurons(network)
    leaks = {1.0 if layer.leak is None else layer.leak.item() for layer in layers.values()}
    learned = any(layer.leak is not None and layer.leak.requires_grad for layer in layers.values())
    if learned or len(leaks) > 1:
        raise ConversionError(
            'method="ottt" needs one constant leak in all layers, for one trace of each input; '
            'use "sltt" or "bptt" to train leaks'
        )
    return leaks.pop()


def _scaled_gradient(value: Tensor, factor: float) -> Tensor:
    """The value, whose gradient is multiplied on the way back."""
    return value.detach() + factor * (value - value.detach())


class TimeLoop(nn.Module):
    """``present`` or ``present_at_once`` as a module, for wrappers (DistributedDataParallel).

    Args:
        network: trainable; the parameters of this module.
        quantized: the latter.
        compiled: the latter as one compiled graph, where ``OneGraph`` can.
    """

    def __init__(
        self, network: SpikingNetwork, quantized: bool = False, compiled: bool = False
    ) -> None:
        super().__init__()
        self.network, self.quantized = network, quantized
        self.one_graph = OneGraph(network) if quantized and compiled else None

    def forward(self, x: Input, timesteps: int, wants: frozenset[str], chunk: int | None) -> Record:
        """See ``present``."""
        if not self.quantized:
            return present(self.network, x, timesteps, wants, chunk)
        found = None if self.one_graph is None else self.one_graph.present(x, timesteps, wants)
        return found or present_at_once(self.network, x, timesteps, wants)
