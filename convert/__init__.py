"""Trace a network, put neurons in the places of its activations, simulate it in time."""

from spikeport.convert.build import build
from spikeport.convert.errors import ConversionError
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.neurons import KINDS, Neuron, SpikingNeuron, neuron_spec

__all__ = [
    "KINDS",
    "ConversionError",
    "Neuron",
    "SpikingNetwork",
    "SpikingNeuron",
    "build",
    "neuron_spec",
]
