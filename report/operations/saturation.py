"""Potentials of integer networks that reach the end of their width."""

from collections.abc import Iterable
from typing import Any

import torch

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.neurons import NeuronLayer


@torch.no_grad()
def saturation(
    network: SpikingNetwork, batches: Iterable[Any], timesteps: int, progress: bool = True
) -> dict[str, float]:
    """The share of potentials that were cut off at the end of their width, by layer.

    Args:
        network: from ``sp.quantize``.
        batches: of images, see ``convert.batches``.
        timesteps: T.
        progress: show a bar when it takes longer than two seconds.

    Returns:
        By name of the layer, of all its neurons and timesteps; layers without any are left out.

    Raises:
        ConversionError: a network whose potentials have no width.
    """
    layers = {name: n for name, n in network.neurons.items() if _width(n) is not None}
    if not layers:
        raise ConversionError(
            "the network's potentials are floats, which do not saturate; pass one from sp.quantize"
        )
    cut, seen = dict.fromkeys(layers, 0), dict.fromkeys(layers, 0)

    def hook(name: str) -> Any:
        def fired(neuron: NeuronLayer, args: Any, result: Any) -> None:
            emitted, state = result
            before = state.v + emitted[-1] * neuron.per_channel(neuron.threshold, state.v)
            most = 2.0 ** ((_width(neuron) or 0) - 1)
            cut[name] += int(((before >= most - 1) | (before <= -most)).sum())
            seen[name] += before.numel()

        return fired

    kept, network.backend = network.backend, "torch"  # which calls the modules, and so their hooks
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        for batch in stream(batches, f"simulating {timesteps} timesteps", progress):
            for _ in network.chunks(batch, timesteps, chunk=1):
                pass
    finally:
        network.backend = kept
        for handle in handles:
            handle.remove()
    return {name: count / seen[name] for name, count in cut.items() if count}


def _width(neuron: NeuronLayer) -> int | None:
    rule = neuron.native_rule
    return None if rule is None else rule.potential_bits
