"""The number of timesteps that are simulated at once."""

import torch
from torch import fx

from spikeport.convert.graph.roles import IN_TIME
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input, tensors_of

CHUNK_BYTES = 16 * 2**20  # of the largest tensor; larger ones miss a CPU's cache and are slower
GPU_CHUNK_BYTES = 2**30  # on a GPU: longer chunks are no faster
SHARE_OF_GPU = 1 / 16  # of its free memory, for the largest tensor of a chunk


def chunk_size(network: SpikingGraph, x: Input) -> int:
    """Timesteps whose largest tensor fits, at least one; ``x`` is a batch."""
    largest = max(bytes_in_time(network, x).values(), default=4.0)
    return max(1, int(_room(x.device) / largest))


def bytes_in_time(network: SpikingGraph, x: Input) -> dict[fx.Node, float]:
    """Bytes of each node's value in one timestep, for a batch; an estimate.

    Values are taken to grow with the batch as the input does.
    """
    growth = max(
        value.numel() / torch.Size(one.shape).numel()
        for value, one in zip(tensors_of(x), network.inputs, strict=True)
    )
    growth *= torch.finfo(network.float_type).bits // 8
    return {
        node: torch.Size(node.meta["shape"]).numel() * growth
        for node in network.graph.nodes
        if node.meta["role"] in IN_TIME and node.meta.get("shape")
    }


def _room(device: torch.device) -> float:
    """Bytes for the largest tensor of a chunk."""
    if device.type != "cuda":
        return CHUNK_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return min(GPU_CHUNK_BYTES, free * SHARE_OF_GPU)
