"""NeuroBench's complexity metrics of a spiking network.

Yik et al. 2025, "The neurobench framework for benchmarking neuromorphic computing algorithms and
systems": footprint, activation sparsity, synaptic operations and membrane updates. An operation is
effective if neither its weight nor its input is 0. It is an accumulate where the layer receives
-1, 0 or 1 in units of one spike; what receives graded spikes multiplies and accumulates.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert import SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.graph.operations.table import row_of
from spikeport.convert.graph.roles import in_time
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.simulation.encoded_network import as_presented


@torch.no_grad()
def complexity(
    network: SpikingNetwork, loader: Iterable[Any], timesteps: int, progress: bool = True
) -> dict[str, float]:
    """Simulate timestep by timestep and count.

    Args:
        network: calibrated.
        loader: batches of images [B, C, ...], with labels or without.
        timesteps: T >= 1.
        progress: show a bar when it takes longer than two seconds.

    Returns:
        ``footprint`` (bytes of parameters and buffers), ``activation_sparsity`` (share of the
        neurons' outputs that are 0, over all timesteps), and per image: ``effective_acs``,
        ``effective_macs``, ``dense`` (operations with those on zeros; a layer on the constant input
        runs once) and ``membrane_updates`` (potentials that changed, the first timestep's all).
    """
    tally = _OperationTally(network)
    kept, network.backend = network.backend, "torch"  # which calls the modules, and so their hooks
    handles = tally.watch()
    try:
        for batch in stream(loader, f"counting {timesteps} timesteps", progress):
            images = network.take_apart(batch).x
            tally.images += len(network.encoding.batch(images))
            for _ in network.chunks(images, timesteps, chunk=1):
                pass
    finally:
        network.backend = kept
        for handle in handles:
            handle.remove()
    return tally.result()


class _OperationTally:
    """Sums over what the hooks of a network see."""

    def __init__(self, network: SpikingNetwork) -> None:
        self.network = network
        self.ternary = _ternary_layers(network)
        self.images = 0
        self.totals = dict.fromkeys(("effective_acs", "effective_macs", "dense"), 0.0)
        self.outputs = self.silent = self.updates = 0.0
        self.binary = {name: binary_copy(layer) for name, layer in weighted_layers(network).items()}
        self.full = {
            name: binary_copy(layer, ones=True) for name, layer in weighted_layers(network).items()
        }

    def watch(self) -> list[Any]:
        """Hook every weighted layer and every layer of neurons."""
        layers, neurons = weighted_layers(self.network), self.network.neurons

        def weighted(name: str) -> Any:
            return lambda module, args: self._operate(name, args[0])

        return [
            *(layer.register_forward_pre_hook(weighted(name)) for name, layer in layers.items()),
            *(neuron.register_forward_hook(self._fire) for neuron in neurons.values()),
        ]

    def _operate(self, name: str, x: Tensor) -> None:
        kind = "effective_acs" if self.ternary[name] else "effective_macs"
        dtype = next(self.full[name].parameters()).dtype  # of an integer network not always x's
        self.totals[kind] += float(self.binary[name]((x != 0).to(dtype)).double().sum())
        self.totals["dense"] += float(
            self.full[name](torch.ones_like(x, dtype=dtype)).double().sum()
        )

    def _fire(self, neuron: nn.Module, args: Any, result: Any) -> None:
        emitted, state = result
        before = args[1]
        changed = state.v.numel() if before is None else int((state.v != before.v).sum())
        self.updates += changed
        self.outputs += emitted.numel()
        self.silent += int((emitted == 0).sum())

    def result(self) -> dict[str, float]:
        """The metrics."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        return {
            "footprint": float(sum(value.numel() * value.element_size() for value in tensors)),
            "activation_sparsity": self.silent / max(self.outputs, 1.0),
            **{name: total / self.images for name, total in self.totals.items()},
            "membrane_updates": self.updates / self.images,
        }


def weighted_layers(network: SpikingNetwork) -> dict[str, nn.Module]:
    """The convolutions and linear layers by name, in the order of the graph."""
    names = [str(node.target) for node in network.graph.nodes if _is_weighted(node)]
    return {name: network.get_submodule(name) for name in names}


def binary_copy(layer: nn.Module, ones: bool = False) -> nn.Module:
    """The layer without bias, its weights 1 where they are not 0; with ``ones`` everywhere."""
    found: Any = copy.deepcopy(layer)
    weight = torch.ones_like(found.weight) if ones else (found.weight != 0).to(found.weight.dtype)
    found.weight, found.bias = nn.Parameter(weight, requires_grad=False), None
    return found


def _ternary_layers(network: SpikingNetwork) -> dict[str, bool]:
    """Whether all inputs of each weighted layer are single spikes, up or down."""
    found: dict[str, bool] = {}
    presented = as_presented(network)
    for node in presented.graph.nodes:
        if _is_weighted(node):
            single = in_time(node.args[0]) and _is_ternary(presented, node.args[0])
            found[str(node.target)] = found.get(str(node.target), True) and single
    return found


def _is_weighted(node: fx.Node) -> bool:
    row = row_of(node)
    return node.op == "call_module" and row is not None and row.in_time == "weighted"


def _is_ternary(network: SpikingGraph, node: fx.Node) -> bool:
    if node.meta["role"] == "neuron":
        return network.neuron(str(node.target)).model.ternary
    if node.meta["role"] == "signal":
        return network.encoding.single
    sources = [source for source in node.all_input_nodes if in_time(source)]
    row = row_of(node)
    keeps = row is not None and (row.spikes.moves or row.spikes.selects)
    return keeps and bool(sources) and all(_is_ternary(network, source) for source in sources)
