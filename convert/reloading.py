"""Weights of a trained-on source network, put into a network that was converted before."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeport.convert.build import build
from spikeport.convert.errors import ConversionError
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.neurons import KINDS


@torch.no_grad()
def load_source(
    network: SpikingNetwork,
    model: nn.Module,
    simplify: Callable[[nn.Module], None] | None = None,
) -> None:
    """Take over the weights of ``model``, which has the structure of the source network.

    ``model`` is converted once more, so that batch norms are folded, branches merged and weights
    standardised as they were, and compared with itself as at every conversion. Thresholds, initial
    potentials and corrections of the neurons stay; where activations have moved, calibrate again.
    What calibration passes did to weights and biases is lost.

    Args:
        network: converted earlier, changed in place.
        model: the source network with other weights, in eval mode; never modified.
        simplify: what the conversion was given, see ``trace``.

    Raises:
        ConversionError: the model cannot be converted, or becomes another network than this one;
            the first parameters that differ are named. The network is left as it was.
    """
    weights = next(model.parameters(), torch.zeros(()))
    example = network.example().to(weights.device)
    bottlenecks = bool(network.info.get("analog_bottlenecks", False))
    fresh = build(model, example, KINDS["if"], bottlenecks, simplify)
    ours, theirs = _weights(network), _weights(fresh)
    odd = sorted(ours.keys() ^ theirs.keys())
    odd += [
        f"{name} {list(theirs[name].shape)} instead of {list(ours[name].shape)}"
        for name in ours.keys() & theirs.keys()
        if ours[name].shape != theirs[name].shape
    ]
    if odd or _calls(network) != _calls(fresh):
        shown = ", ".join(odd[:5]) or "the same parameters are used otherwise"
        raise ConversionError(
            f"'{type(model).__name__}' has another structure than the network's source ({shown}); "
            "pass the architecture that was converted, or convert this one with to_snn"
        )
    for name, tensor in ours.items():
        tensor.copy_(theirs[name])


def _weights(network: SpikingNetwork) -> dict[str, Tensor]:
    """Parameters and buffers outside the neurons, by name."""
    neurons = network.neurons
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {
        name: value for name, value in tensors.items() if name.rpartition(".")[0] not in neurons
    }


def _calls(network: SpikingNetwork) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in network.graph.nodes]
