"""The largest current of each layer: sums of whole numbers are exact in float32 up to 2²⁴."""

from typing import Any

import torch

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.integers.layouts import as_rows, is_quantizable
from spikeport.convert.simulation.precision import WHOLE

EXACT = 2.0**24  # floats hold all whole numbers up to it


@torch.no_grad()
def require_exact(network: SpikingGraph) -> None:
    """Raise ConversionError unless no current of a layer can be too large for exact sums.

    What counts is the largest current that any spikes could make: every input at the most spikes
    that its neurons can emit at a timestep, on all positive or on all negative weights.
    """
    neurons = network.neurons.values()
    spikes = max((max(neuron.max_up, neuron.max_down) for neuron in neurons), default=1)
    widths = (getattr(neuron.model, "potential_bits", None) or 24 for neuron in neurons)
    most = EXACT - 2.0 ** (min(max(widths, default=24), 24) - 1)
    for node in network.graph.nodes:
        if node.meta.get("numbers") != WHOLE or node.op != "call_module":
            continue
        layer: Any = network.get_submodule(str(node.target))
        if not is_quantizable(layer):
            continue
        largest = _largest(layer, spikes)
        if largest > most:
            raise ConversionError(
                f"layer '{node.target}' could give a neuron a current of {largest:.3g} units in "
                f"one timestep; sums are exact up to {most:.3g}. Use fewer weight_bits, or "
                "neurons with fewer levels per timestep"
            )


def _largest(layer: Any, spikes: float) -> float:
    rows = as_rows(layer, layer.weight)
    side = torch.maximum(rows.clamp_min(0).sum(-1), -rows.clamp_max(0).sum(-1)).flatten()
    bias = 0.0 if layer.bias is None else layer.bias.abs()
    return float((side * spikes + bias).max())
