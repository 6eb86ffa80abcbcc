"""Trace a network, put neurons in the places of its activations, simulate it in time."""

from spikeport.convert.build import build
from spikeport.convert.errors import ConversionError
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.neurons import KINDS, Neuron, NeuronLayer, neuron_model

__all__ = [
    "KINDS",
    "ConversionError",
    "Neuron",
    "SpikingNetwork",
    "NeuronLayer",
    "build",
    "neuron_model",
]
