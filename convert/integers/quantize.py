"""The step from a network with float numbers to one with whole numbers."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from spikeport.convert.calibration_images import CalibrationData
from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import eliminate_dead, name_nodes
from spikeport.convert.integers.bounds import require_exact
from spikeport.convert.integers.carried import example_values, spike_units
from spikeport.convert.integers.groups import groups_of
from spikeport.convert.integers.layouts import is_quantizable, spike_sizes
from spikeport.convert.integers.making import Maker
from spikeport.convert.integers.moments import moments_of
from spikeport.convert.integers.rewriting import Rewriting, WholeLayer
from spikeport.convert.integers.settings import Quantization, Rounding
from spikeport.convert.integers.sum_pools import sum_pools
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.neurons import Neuron, NeuronLayer
from spikeport.convert.simulation.precision import is_integer


@torch.no_grad()
def quantize(
    network: SpikingNetwork,
    weight_bits: int = 8,
    *,
    potential_bits: int = 24,
    rounding: Rounding = "nearest",
    data: Iterable[Any] | None = None,
    layer_bits: Mapping[str, int] | None = None,
    powers_of_two: bool = False,
    strict: bool = False,
) -> SpikingNetwork:
    """An integer network: the same spikes on every backend, simulator and chip.

    Weights, thresholds, potentials, biases and corrections become whole numbers in one unit per
    channel; the constant input current is rounded to it once, and every spike is a count. Layers
    with weights of fewer than 8 bits hold them as multiples of a power of 2. What has no form in
    whole numbers (gates, normalisations, softmax; ``info["integer"]["analog"]`` names it) is
    computed as before and rounded to the unit on the way into a neuron. Currents that meet in a
    sum have one unit; spikes that are added to a current as they are get a whole weight.

    Args:
        network: calibrated or fine-tuned; it is not changed.
        weight_bits: of a weight, 2 to 8.
        potential_bits: width of a membrane potential, 16, 24 or 32; it saturates.
        rounding: "nearest", or "calibrated": with error feedback on calibration images, for 4 bits
            and fewer (Frantar et al. 2023, "GPTQ").
        data: calibration batches, as for ``to_snn``; needed by "calibrated".
        layer_bits: weight bits of single layers, by name, instead of ``weight_bits``.
        powers_of_two: make every threshold a power of 2 units.
        strict: refuse a network some part of which stays in activation units.

    Raises:
        ConversionError: an uncalibrated network, one that is integer already, neurons that have no
            form in whole numbers, a layer that does not exist, currents too large for exact sums,
            or with ``strict`` parts that stay analog; all are named.
    """
    settings = Quantization(
        weight_bits, potential_bits, rounding, dict(layer_bits or {}), powers_of_two
    )
    _check(network, settings)
    copied = copy.deepcopy(network)
    if rounding == "calibrated" and data is None:
        raise ConversionError("rounding 'calibrated' needs data=, the calibration batches")
    batches = CalibrationData(copied, data) if rounding == "calibrated" else None  # type: ignore[arg-type]
    analog = _rewrite(copied, settings, batches)
    if batches is not None:
        batches.note()
    if strict and analog:
        raise ConversionError(
            "these parts have no form in whole numbers and would be computed in activation units:\n"
            + "\n".join(f"  {name}" for name in analog)
            + "\nLeave out strict=True to keep them behind a rounding to the unit."
        )
    info = {**copied.info, "integer": _noted(settings, analog)}
    # one that holds nothing but what the new graph calls
    found = SpikingNetwork(copied.graph, copied, network.traced_shape, info)
    found.signature, found.readout_delay = network.signature, network.readout_delay
    found.encoding = network.encoding
    return found


def _check(network: SpikingNetwork, settings: Quantization) -> None:
    network.check_calibrated()
    if is_integer(network):
        raise ConversionError(
            "the network is an integer network already; quantize the one that it was made from"
        )
    others = [
        f"  '{name}': {neuron.model.label}"
        for name, neuron in network.neurons.items()
        if type(neuron.model) is not Neuron or type(neuron) is not NeuronLayer
    ]
    if others:
        raise ConversionError(
            "these neurons have no form in whole numbers:\n" + "\n".join(others) + "\nConvert with "
            "neuron 'if', 'burst', 'signed' or 'multi-level'."
        )
    layers = {str(n.target) for n in network.graph.nodes if n.op == "call_module"}
    unknown = sorted(set(settings.layer_bits) - layers)
    if unknown:
        raise ConversionError(
            f"layer_bits names {', '.join(map(repr, unknown))}, which the network does not have; "
            f"it has {', '.join(map(repr, sorted(layers)))}"
        )


def _noted(settings: Quantization, analog: list[str]) -> dict[str, Any]:
    return {
        "weight_bits": settings.weight_bits,
        "potential_bits": settings.potential_bits,
        "rounding": settings.rounding,
        "layer_bits": dict(settings.layer_bits),
        "powers_of_two": settings.powers_of_two,
        "analog": analog,
    }


def _rewrite(
    network: SpikingNetwork, settings: Quantization, batches: Iterable[Any] | None
) -> list[str]:
    """Make a network an integer one, in place; the names of parts that stay analog."""
    values = example_values(network)
    summed = sum_pools(network, spike_units(network, values, {}))
    units = spike_units(network, values, summed)
    weighted = [node for node in network.graph.nodes if _has_weights(network, node)]
    sizes = {node: _sizes(network, node, units) for node in weighted}
    on_spikes = {node for node in weighted if node.args[0] in units and sizes[node] is not None}
    moments = {} if batches is None else moments_of(network, batches, weighted)
    layers: dict[fx.Node, WholeLayer] = {}
    potentials: dict[fx.Node, Tensor] = {}
    sums: dict[fx.Node, Tensor] = {}
    maker = Maker(network, settings, sizes, moments)
    for group in groups_of(network, values, on_spikes):
        maker.group(group, values, layers, potentials, sums)
    for node in weighted:
        if node not in layers:
            layers[node] = maker.alone(node, on_spikes=node in on_spikes)
    rewriting = Rewriting(network, values, units, layers, potentials, sums, set(summed))
    rewriting.run()
    eliminate_dead(network.graph)
    name_nodes(network.graph)
    require_exact(network)
    return rewriting.analog


def _has_weights(network: SpikingNetwork, node: fx.Node) -> bool:
    return (
        node.op == "call_module"
        and is_quantizable(network.get_submodule(str(node.target)))
        and node.meta["role"] in ("weighted", "static")
    )


def _sizes(network: SpikingNetwork, node: fx.Node, units: dict[fx.Node, Tensor]) -> Tensor | None:
    """The value of a spike at each weight; 1 where the input is in activation units."""
    layer: Any = network.get_submodule(str(node.target))
    if node.args[0] not in units:
        return torch.ones_like(layer.weight, dtype=torch.float64)
    return spike_sizes(layer, units[node.args[0]])
