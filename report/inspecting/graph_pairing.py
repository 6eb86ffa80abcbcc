"""Differences of a spiking graph from the network that it is compared with."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork
from spikeport.convert.graph.nodes import attribute
from spikeport.convert.saving.layers import own_tensors

ROUNDING = 1e-5  # folding batch norms on another machine differs by less, relative to the largest


@dataclass(frozen=True)
class Difference:
    """One node that is not as in the reference.

    Attributes:
        kind: "weights" or "operation".
        text: what differs, a sentence.
    """

    kind: str
    text: str


def pair(network: SpikingNetwork, reference: SpikingNetwork) -> dict[fx.Node, fx.Node]:
    """The reference's node for each node of the network.

    Raises:
        ConversionError: the nodes are not connected in the same way.
    """
    if network is reference:
        return {node: node for node in network.graph.nodes}
    ours, theirs = list(network.graph.nodes), list(reference.graph.nodes)
    pairs = dict(zip(ours, theirs, strict=False))
    for node, other in pairs.items():
        same = [pairs[source] for source in node.all_input_nodes] == list(other.all_input_nodes)
        spiking = [one.meta["role"] == "neuron" for one in (node, other)]
        ends = [one.op == "output" for one in (node, other)]
        if not same or spiking[0] != spiking[1] or ends[0] != ends[1]:
            raise ConversionError(
                f"the reference is built in another way than the network: '{node.meta['name']}' of "
                f"the network stands where '{other.meta['name']}' does in the reference; pass the "
                "source model that was converted (in eval mode), or convert the reference again"
            )
    return pairs


def differences(
    network: SpikingNetwork, reference: SpikingNetwork, pairs: dict[fx.Node, fx.Node]
) -> dict[fx.Node, Difference]:
    """The nodes of the network that have other weights or another operation than their pair."""
    found = {}
    if network is not reference:
        for node, other in pairs.items():
            difference = _difference(network, node, reference, other, pairs)
            if difference is not None:
                found[node] = difference
    return found


def _difference(
    network: SpikingNetwork,
    node: fx.Node,
    reference: SpikingNetwork,
    other: fx.Node,
    pairs: dict[fx.Node, fx.Node],
) -> Difference | None:
    if node.op == other.op == "get_attr":
        alike = _alike(
            attribute(network, str(node.target)), attribute(reference, str(other.target))
        )
        return None if alike else Difference("weights", "Its values differ from the reference's.")
    if node.op == other.op == "call_module":
        ours, theirs = (
            network.get_submodule(str(node.target)),
            reference.get_submodule(str(other.target)),
        )
        return _of_neurons(ours, theirs) or _of_layers(ours, theirs)
    args = fx.node.map_arg((node.args, node.kwargs), pairs.__getitem__)
    if node.op == other.op in ("placeholder", "output"):
        return None
    if (node.op, node.target, args) == (other.op, other.target, (other.args, other.kwargs)):
        return None
    return _another(_operation(network, node), _operation(reference, other))


def _of_neurons(ours: nn.Module, theirs: nn.Module) -> Difference | None:
    if not isinstance(ours, NeuronLayer) or not isinstance(theirs, NeuronLayer):
        return None
    if (ours.low, ours.high) == (theirs.low, theirs.high):
        return None
    return _another(*(f"clamp(x, {one.low:g}, {one.high:g})" for one in (ours, theirs)))


def _of_layers(ours: nn.Module, theirs: nn.Module) -> Difference | None:
    if isinstance(ours, NeuronLayer):  # its threshold is no part of the source network
        return None
    if type(ours) is not type(theirs) or ours.extra_repr() != theirs.extra_repr():
        return _another(*(f"{type(m).__name__}({m.extra_repr()})" for m in (ours, theirs)))
    expected = own_tensors(theirs)
    texts = [
        f"its {name} {_how(value, expected[name])}"
        for name, value in own_tensors(ours).items()
        if not _alike(value, expected[name])
    ]
    return Difference("weights", _sentence(" and ".join(texts))) if texts else None


def _operation(network: SpikingNetwork, node: fx.Node) -> str:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        return f"{type(module).__name__}({module.extra_repr()})"
    constants = [str(arg) for arg in node.args if not isinstance(arg, fx.Node)]
    constants += [f"{name}={value}" for name, value in node.kwargs.items()]
    return f"{node.meta.get('op', node.name)}({', '.join(['x', *constants])})"


def _another(ours: str, theirs: str) -> Difference:
    return Difference("operation", f"It computes {ours} where the reference computes {theirs}.")


def _how(value: Tensor, expected: Tensor) -> str:
    if not bool(value.any()):
        return "is zero, the reference's is not"
    if value.ndim > 1:
        gone = (value.flatten(1) == 0).all(1) & (expected.flatten(1) != 0).any(1)
        if bool(gone.any()):
            return f"of channel(s) {gone.nonzero().flatten().tolist()} is zero"
    return "differs from the reference's"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _alike(ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape != theirs.shape:
        return False
    largest = theirs.abs().max() if theirs.numel() else torch.zeros(())
    return bool(((ours - theirs).abs() <= ROUNDING * largest).all())
