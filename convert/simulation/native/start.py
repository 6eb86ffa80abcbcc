"""The choice of calls that the native engine runs."""

import torch

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input, tensors_of
from spikeport.convert.neurons.layer import why_not_native
from spikeport.convert.simulation.emitted import Watcher
from spikeport.convert.simulation.native.layouts import as_convolutions_read
from spikeport.convert.simulation.native.run import NativeRun
from spikeport.convert.simulation.run import Run, sized_in_time
from spikeport.cpu.loader import why_unavailable


def start_on_engine(network: SpikingGraph, x: Input, watch: Watcher | None) -> Run | None:
    """A run on the engine, or None where torch has to do it.

    Raises:
        ConversionError: the backend is "cpu" and the engine cannot run this call.
    """
    if network.backend not in ("cpu", "auto"):
        return None
    reason = _why_not(network, x)
    if network.backend == "auto" and _may_differentiate(network, x):
        return None
    if reason is None:
        return NativeRun(network, as_convolutions_read(network, x), watch)
    if network.backend == "cpu":
        raise ConversionError(f"backend 'cpu': {reason}; use 'torch'")
    return None


def _may_differentiate(network: SpikingGraph, x: Input) -> bool:
    return torch.is_grad_enabled() and any(
        value.requires_grad for value in (*tensors_of(x), *network.parameters())
    )


def _why_not(network: SpikingGraph, x: Input) -> str | None:
    """Why the engine cannot run a call: it does inference in float32 on a CPU, without hooks."""
    missing = why_unavailable()
    if missing:
        return missing
    given = tensors_of(x)
    values = [*given, *network.parameters(), *network.buffers()]
    if any(value.device.type != "cpu" for value in values):
        return "the network or its input is not on the CPU"
    types = {value.dtype for value in given if value.is_floating_point()}
    if not types <= {torch.float32} or network.float_type != torch.float32:
        return "the network or its input is not float32"  # single layers of another type may be
    if network.training or any(value.requires_grad for value in given):
        return "it does not differentiate, and the network is in training mode or x needs gradients"
    if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        return "it does not call the modules, and one of them has hooks"
    if sized_in_time(network.graph):
        return "sizes of values that change in time shape one that does not"
    return why_not_native(network.neurons.values())
