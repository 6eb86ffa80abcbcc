"""The neurons that may take an activation's place."""

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.differential import Differential
from spikeport.convert.neurons.integrate_and_fire import Neuron
from spikeport.convert.neurons.layer import NeuronLayer
from spikeport.convert.neurons.model import NeuronModel, State
from spikeport.convert.neurons.multi_threshold import MultiThreshold
from spikeport.convert.neurons.spicalib import SpiCalib

KINDS: dict[str, NeuronModel] = {
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
    "NeuronModel",
    "SpiCalib",
    "NeuronLayer",
    "State",
    "neuron_model",
]


def neuron_model(neuron: str | NeuronModel) -> NeuronModel:
    """The spec behind a name; a spec is returned as it is. Raises ConversionError otherwise."""
    if isinstance(neuron, NeuronModel):
        return neuron
    if not isinstance(neuron, str) or neuron not in KINDS:
        raise ConversionError(
            f"unknown neuron {neuron!r}; expected one of {sorted(KINDS)} or a "
            "spec such as Neuron(max_up=4, max_down=4)"
        )
    return KINDS[neuron]
