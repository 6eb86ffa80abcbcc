"""Operations of a converted network that act on values that are not spikes, and why."""

from typing import Any

from torch import fx
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.roles import in_time
from spikeport.report.operations.synapses import Synapses, layer_name


def analog_operations(network: SpikingNetwork, synapses: Synapses) -> list[dict[str, Any]]:
    """One dict for each, in the order of the graph.

    Args:
        network: converted.
        synapses: of the same network.

    Returns:
        ``layer``; ``reason``; ``macs``, of all evaluations of the layer for one image and
        timestep (0 for what only compares or is elementwise); ``every_timestep``, False for what
        is computed once because it reads the constant input.
    """
    found: dict[str, dict[str, Any]] = {}
    for node in network.graph.nodes:
        if not node.op.startswith("call"):
            continue
        name = layer_name(node)
        if node.meta["role"] == "difference" or name in synapses.macs_per_timestep:
            macs = synapses.macs_per_timestep.get(name, 0.0)
            found.setdefault(name, _entry(name, _reason(node), macs, True))
        elif name in synapses.macs_once:
            reason = "reads the input itself: a constant current, computed once"
            found.setdefault(name, _entry(name, reason, synapses.macs_once[name], False))
    return list(found.values())


def _entry(name: str, reason: str, macs: float, every_timestep: bool) -> dict[str, Any]:
    return {"layer": name, "reason": reason, "macs": macs, "every_timestep": every_timestep}


def _reason(node: fx.Node) -> str:
    if node.meta["role"] == "difference":
        return (
            f"{node.meta['op']} does not commute with the mean over time: it acts on the running "
            "mean of its input"
        )
    inputs = [arg for arg in pytree.tree_leaves((node.args, node.kwargs)) if in_time(arg)]
    source = next((arg for arg in inputs if not arg.meta["spikes"]), None)
    if source is None:
        return "its weights depend on the input"
    return f"reads '{layer_name(source)}', whose values are not spikes"
