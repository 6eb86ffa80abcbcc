"""The neurons that may take an activation's place."""

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.differential import Differential
from spikeport.convert.neurons.family import Neuron
from spikeport.convert.neurons.multi_threshold import MultiThreshold
from spikeport.convert.neurons.spec import Spec, State
from spikeport.convert.neurons.spicalib import SpiCalib
from spikeport.convert.neurons.spiking_neuron import SpikingNeuron

KINDS: dict[str, Spec] = {
    "if": Neuron(max_up=1, max_down=0),
    "burst": Neuron(max_up=5, max_down=0),
    "signed": Neuron(max_up=1, max_down=1),
    "multi-level": Neuron(max_up=4, max_down=4),
    "multi-threshold": MultiThreshold(exponents=4),
    "differential": Differential(MultiThreshold(exponents=4)),
    "spicalib": SpiCalib(max_up=5),
}

__all__ = [
    "KINDS",
    "Differential",
    "MultiThreshold",
    "Neuron",
    "Spec",
    "SpiCalib",
    "SpikingNeuron",
    "State",
    "neuron_spec",
]


def neuron_spec(neuron: str | Spec) -> Spec:
    """The spec behind a name; a spec is returned as it is. Raises ConversionError otherwise."""
    if isinstance(neuron, Spec):
        return neuron
    if not isinstance(neuron, str) or neuron not in KINDS:
        raise ConversionError(
            f"unknown neuron {neuron!r}; expected one of {sorted(KINDS)} or a "
            "spec such as Neuron(max_up=4, max_down=4)"
        )
    return KINDS[neuron]
