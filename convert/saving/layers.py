"""Layers as constructor arguments, and back: classes from a table, never from a name in a file."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.operations.table import layer_arguments, layer_classes
from spikeport.convert.neurons.kinds import describe_model, described_model
from spikeport.convert.neurons.layer import NeuronLayer

NEURON_TENSORS = ("threshold", "v0", "correction", "step", "unit", "spike_value")


def describe_layer(path: str, layer: nn.Module) -> dict[str, Any]:
    """Class name and constructor arguments, without the weights.

    Args:
        path: where it stands in the network, for messages.
        layer: a module that a node calls.

    Raises:
        ConversionError: a class that is not in the table, or a layer that has been changed since
            its construction in a way that the arguments do not tell.
    """
    cls = type(layer)
    record: dict[str, Any]
    if type(layer) is NeuronLayer:
        try:
            record = _describe_neuron(layer)
        except ConversionError as cause:
            raise ConversionError(f"module '{path}': {cause}") from cause
    elif (arguments := layer_arguments(cls)) is not None:
        record = {name: _argument(layer, name) for name in arguments}
    else:
        raise ConversionError(
            f"module '{path}' is a '{cls.__module__}.{cls.__qualname__}', which cannot be saved; "
            "remove parametrizations, or replace it by a layer of torch.nn that does the same "
            "before the conversion (docs/operations.md lists the layers that can be saved)"
        )
    record = {"class": cls.__name__} | record
    try:
        difference = _difference(layer, make_layer(path, record))
    except ConversionError as cause:
        difference = str(cause)
    if difference:
        raise ConversionError(
            f"module '{path}' is not what its constructor makes: {difference}. Replace it by an "
            f"unchanged {cls.__name__} before the conversion."
        )
    return record


def make_layer(path: str, record: dict[str, Any]) -> nn.Module:
    """The layer that ``describe_layer`` described, with meta tensors in place of its weights.

    Raises:
        ConversionError: an unknown class, or arguments that its constructor refuses.
    """
    arguments = {name: _tuples(value) for name, value in record.items()}
    name = arguments.pop("class")
    try:
        with torch.device("meta"):
            if name == "NeuronLayer":
                return _make_neuron(**arguments)
            cls = layer_classes().get(name)
            if cls is not None and set(arguments) == set(layer_arguments(cls) or ()):
                return cls(**arguments)
    except Exception as cause:  # whatever a constructor makes of the numbers in a file
        raise ConversionError(
            f"module {path!r} ({name}): {type(cause).__name__}: {cause}"
        ) from cause
    raise ConversionError(
        f"module {path!r} is a {name!r} with the arguments {sorted(arguments)}, which this version "
        "does not know"
    )


def own_tensors(layer: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a layer, without those of its children."""
    return dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))


def _describe_neuron(neuron: NeuronLayer) -> dict[str, Any]:
    return {
        "model": describe_model(neuron.model),
        "low": neuron.low if math.isfinite(neuron.low) else None,
        "high": neuron.high if math.isfinite(neuron.high) else None,
        "channel_dim": neuron.channel_dim,
        "tensors": {name: list(getattr(neuron, name).shape) for name in NEURON_TENSORS},
    }


def _make_neuron(
    model: dict[str, Any],
    low: float | None,
    high: float | None,
    channel_dim: int,
    tensors: dict[str, list[int]],
) -> NeuronLayer:
    fires = described_model(model)
    neuron = NeuronLayer(
        fires,
        1,
        -math.inf if low is None else low,
        math.inf if high is None else high,
        channel_dim,
    )
    neuron.model = fires  # both signs were seen to before
    for name in NEURON_TENSORS:
        empty = torch.empty(tuple(tensors[name]))
        setattr(neuron, name, nn.Parameter(empty, requires_grad=False))
    return neuron


def _argument(layer: nn.Module, name: str) -> Any:
    value = getattr(layer, name)
    return value is not None if name == "bias" and not isinstance(value, bool) else value


def _tuples(value: Any) -> Any:
    """JSON has no tuples; torch's layers keep them and take nothing else."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _difference(layer: nn.Module, fresh: nn.Module) -> str | None:
    """The part of a layer that its record does not bring back."""
    shapes = [{k: tuple(v.shape) for k, v in own_tensors(m).items()} for m in (layer, fresh)]
    if shapes[0] != shapes[1]:
        return f"it has the tensors {shapes[0]} instead of {shapes[1]}"
    if "forward" in vars(layer):
        return "its forward has been replaced"
    for name, value in vars(fresh).items():
        if name.startswith("_") or name == "training":
            continue
        found = vars(layer).get(name, value)
        if _tuples(found) != _tuples(value):
            return f"{name} is {found!r} instead of {value!r}"
    return None
