"""The number of timesteps that are simulated at once."""

import torch
from torch import Tensor, fx

from spikeport.convert.graph.roles import IN_TIME
from spikeport.convert.graph.spiking_graph import SpikingGraph

CHUNK_BYTES = 16 * 2**20  # of the largest tensor; larger ones miss a CPU's cache and are slower
GPU_CHUNK_BYTES = 2**30  # on a GPU: longer chunks are no faster
SHARE_OF_GPU = 1 / 16  # of its free memory, for the largest tensor of a chunk


def chunk_size(network: SpikingGraph, x: Tensor) -> int:
    """Timesteps whose largest tensor fits, at least one; ``x`` is a batch, [B, C, ...]."""
    largest = max(bytes_in_time(network, x).values(), default=x.element_size())
    return max(1, int(_room(x.device) / largest))


def bytes_in_time(network: SpikingGraph, x: Tensor) -> dict[fx.Node, float]:
    """Bytes of each node's value in one timestep, for a batch [B, C, ...]; an estimate.

    Values are taken to grow with the batch as the input does.
    """
    growth = x.numel() / torch.Size(network.traced_shape).numel() * x.element_size()
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
