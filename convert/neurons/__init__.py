"""The neurons that may take an activation's place, one file for each; all files are imported."""

from importlib import import_module
from pkgutil import iter_modules

from spikeport.convert.neurons.integrate_and_fire import Neuron  # the family's names come first
from spikeport.convert.neurons.kinds import KINDS, neuron_model, spelled
from spikeport.convert.neurons.layer import NeuronLayer
from spikeport.convert.neurons.model import CLASSES, Capabilities, NeuronModel, State
from spikeport.convert.neurons.rules import NativeRule, Staircase, Step

__all__ = [
    "KINDS",
    "Capabilities",
    "NativeRule",
    "Neuron",
    "NeuronLayer",
    "NeuronModel",
    "Staircase",
    "State",
    "Step",
    "neuron_model",
    "spelled",
]

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")

MODELS: dict[str, type[NeuronModel]] = {
    cls.__name__: cls for cls in CLASSES.values() if cls.__module__.startswith(f"{__name__}.")
}
globals().update(MODELS)  # a new file's class is found as spikeport.convert.neurons.ItsName
