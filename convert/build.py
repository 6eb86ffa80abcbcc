"""From a source network to a spiking network without thresholds yet."""

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.neurons import Neuron
from spikeport.convert.normalise import normalise
from spikeport.convert.replace import make_inputs_spike, replace_activations
from spikeport.convert.roles import assign_roles
from spikeport.convert.tracer import trace

TOLERANCE = 1e-3  # of the output's largest magnitude; folding batch norms rounds


@torch.no_grad()
def build(
    model: nn.Module, example: Tensor, spec: Neuron, analog_bottlenecks: bool = False
) -> SpikingNetwork:
    """Trace ``model``, put neurons in the places of its activations, and check the result.

    Args:
        model: source network in eval mode; never modified.
        example: one batch, [B, C, ...].
        spec: the neuron.
        analog_bottlenecks: leave linear bottlenecks analog instead of giving them signed neurons.

    Raises:
        ConversionError: the model is in training mode; an operation has no spiking form (all of
            them are listed); the graph does not compute what the model computes.
    """
    if model.training:
        raise ConversionError(
            f"'{type(model).__name__}' is in training mode, where batch norm "
            "and dropout are random; call model.eval() first"
        )
    example = example[:3] if len(example) >= 3 else torch.cat([example] * 3)[:3]
    graph, root = trace(model, example[:2])
    normalise(graph, root)
    replace_activations(graph, root, spec)
    unsupported = assign_roles(graph, root)
    if not unsupported and not analog_bottlenecks:
        make_inputs_spike(graph, root, spec)
        unsupported = assign_roles(graph, root)
    if unsupported:
        raise ConversionError(
            f"{len(unsupported)} operation(s) of '{type(model).__name__}' have no spiking form:\n  "
            + "\n  ".join(unsupported)
            + "\nReplace them in the model, convert the part before "
            "them, or add their name to a table in spikeport/convert/ops.py."
        )
    graph.lint()
    network = SpikingNetwork(graph, root, tuple(example.shape), {})
    if not network.neurons:
        raise ConversionError(
            f"'{type(model).__name__}' has no activation that can spike (ReLU, "
            "ReLU6, hardtanh, clamp) and no layer that needs spikes"
        )
    _check_equal(model, network, example)
    return network


def _check_equal(model: nn.Module, network: SpikingNetwork, example: Tensor) -> None:
    """The analog reading is the source network, for any batch size, image by image."""
    for batch in (example[:2], example):
        _compare(model(batch), network.analog(batch), "the model")
    single = [network.analog(image[None]) for image in example]
    together = pytree.tree_map(lambda *parts: torch.cat(parts), *single)
    _compare(
        network.analog(example),
        together,
        "its own outputs image by image (does an operation mix the images of a batch?)",
    )


def _compare(expected: object, found: object, what: str) -> None:
    pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(found), strict=True)
    for index, (a, b) in enumerate(pairs):
        if not isinstance(a, Tensor):
            continue
        if not bool(torch.isfinite(a).all()):
            raise ConversionError(
                f"the model's own output {index} is not finite on the first "
                "batch; check its weights and the input's normalisation"
            )
        error = (
            float((a - b).abs().max() / a.abs().max().clamp_min(1e-12))
            if a.shape == b.shape
            else float("inf")
        )
        if not error <= TOLERANCE:
            raise ConversionError(
                f"the traced graph differs from {what}: output {index} by {error:.1e} of its "
                "magnitude. An in-place write to a view is the usual cause; write it out of place."
            )
