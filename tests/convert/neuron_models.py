"""Every neuron model that has been defined, with any values of its fields.

The laws run over these, so that a new class is tested by being there.
"""

from dataclasses import fields
from typing import get_type_hints

import torch
from hypothesis import assume
from hypothesis import strategies as st

from spikeport.convert import KINDS, ConversionError, NeuronLayer
from spikeport.convert.neurons import MODELS, NeuronModel

VALUES = {
    int: st.integers(0, 9),
    bool: st.booleans(),
    float: st.sampled_from([1.0, 0.75, 0.3]),
}


@st.composite
def models_of(draw, cls):
    """A model of a class: one that has a name, or one with any values that it does not refuse."""
    named = [model for model in KINDS.values() if type(model) is cls]
    if named and draw(st.booleans()):
        return draw(st.sampled_from(named))
    types, values = get_type_hints(cls), {}
    for each in fields(cls):
        kind = types[each.name]
        if kind is NeuronModel:
            others = [other for other in MODELS.values() if other is not cls]
            values[each.name] = draw(models_of(draw(st.sampled_from(others))))
        elif kind in VALUES and draw(st.booleans()):
            values[each.name] = draw(VALUES[kind])
    try:
        return cls(**values)
    except ConversionError:
        assume(False)


def layer(model, span, seed, channels=3, dtype=torch.float32):
    """Neurons with random thresholds and starts, some of them outside [0, θ]."""
    generator = torch.Generator().manual_seed(seed)
    neuron = NeuronLayer(model, channels, *span).to(dtype)
    neuron.threshold.data = (torch.rand(channels, generator=generator) * 4 + 0.05).to(dtype)
    neuron.v0.data = (torch.randn(channels, generator=generator)).to(dtype)
    rows = seed % 4
    neuron.correction.data = torch.randn(rows, channels, generator=generator).to(dtype)
    return neuron


def current(timesteps, seed, scale=3.0, dtype=torch.float32):
    """[T, 2, 3, 4, 4]."""
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(timesteps, 2, 3, 4, 4, generator=generator)
    return (noise * scale + scale / 3).to(dtype)
