"""The source network with other functions in the places of its activations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from spikeport.convert import SpikingNetwork


@contextmanager
def activations(
    network: SpikingNetwork, functions: Mapping[str, Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Inside it, ``network.analog`` computes these functions in the places of these layers.

    Args:
        network: has its own activations again afterwards.
        functions: by layer, from its current [B, ...] to its activation [B, ...].
    """
    neurons = {name: network.neuron(name) for name in functions}
    try:
        for name, neuron in neurons.items():
            vars(neuron)["analog"] = functions[name]  # found before the class's method
        yield
    finally:
        for neuron in neurons.values():
            vars(neuron).pop("analog", None)
