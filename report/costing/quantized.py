"""The source network with its activations quantised to the levels of a spiking network."""

import copy
import math

import torch

from spikeport.convert import Neuron, SpikingNetwork


@torch.no_grad()
def quantized(network: SpikingNetwork, timesteps: int) -> SpikingNetwork:
    """The spiking network as if every neuron emitted exactly its mean current.

    A graded neuron at T = 1 is a uniform quantiser: with T times the spikes and a T-th of the
    threshold it has the levels that T timesteps of the original can reach. Simulate it with
    ``timesteps=1``.

    Args:
        network: calibrated; not modified.
        timesteps: T.
    """
    found = copy.deepcopy(network)
    found.backend, found.encoding, found.readout_delay = "torch", "constant", 0.0
    for neuron in found.neurons.values():
        most = timesteps * neuron.max_up
        neuron.model = Neuron(most, most if neuron.low < 0 else 0)
        neuron.threshold.div_(timesteps)
        if neuron.integer:
            neuron.spike_value.div_(timesteps)
        neuron.v0.copy_(neuron.threshold / 2)  # rounds to the nearest level
        neuron.correction.data = neuron.correction[:0]
    return found


def bits(network: SpikingNetwork) -> int:
    """Bits of the widest activation of a network from ``quantized``."""
    levels = [neuron.max_up + neuron.max_down + 1 for neuron in network.neurons.values()]
    return math.ceil(math.log2(max(levels)))
