"""The neurons that may take an activation's place."""

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.family import Neuron, SpikingNeuron, State, step

KINDS = {
    "if": Neuron(max_up=1, max_down=0),
    "burst": Neuron(max_up=5, max_down=0),
    "signed": Neuron(max_up=1, max_down=1),
    "multi-level": Neuron(max_up=4, max_down=4),
}

__all__ = ["KINDS", "Neuron", "SpikingNeuron", "State", "neuron_spec", "step"]


def neuron_spec(neuron: str | Neuron) -> Neuron:
    """The spec behind a name; a spec is returned as it is. Raises ConversionError otherwise."""
    if isinstance(neuron, Neuron):
        return neuron
    if not isinstance(neuron, str) or neuron not in KINDS:
        raise ConversionError(
            f"unknown neuron {neuron!r}; expected one of {sorted(KINDS)} or a "
            "spec such as Neuron(max_up=4, max_down=4)"
        )
    return KINDS[neuron]
