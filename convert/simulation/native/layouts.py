"""Layouts of maps in memory, between the engine and torch.

To the engine everything is a map [B, C, H, W]: features [B, C] have one position, and sequences
[B, C, L] have one row.
"""

import torch
from torch import Tensor, nn

from spikeport.convert.graph.memory_format import takes_channels_last
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input
from spikeport.cpu.streams import Stream


def as_maps(current: Tensor) -> Tensor:
    """[t, B, C, ...] as [t, B, C, H, W] with channels innermost in memory."""
    if current.ndim == 3:
        return current.contiguous()[..., None, None]
    current = current.unsqueeze(3) if current.ndim == 4 else current
    if current.stride(2) == 1 and current.stride(4) >= current.shape[2]:
        return current
    return current.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def without_sides(maps: Tensor, rank: int) -> Tensor:
    """Maps [..., C, H, W] as they are in a graph where [B, C, ...] has this rank."""
    return {2: maps[..., 0, 0], 3: maps[..., 0, :], 4: maps}[rank]


def shape_of(stream: Stream, rank: int) -> tuple[int, ...]:
    """[C, ...] of a stream in such a graph."""
    return (stream.channels, *stream.size[4 - rank :])


def as_convolutions_read(network: SpikingGraph, x: Input) -> Input:
    """Images with channels innermost, if only convolutions read them: so are their outputs then.

    The neurons want them so, and turning a map in memory takes as long as its convolution.
    """
    if not isinstance(x, Tensor):
        return x
    readers = next(iter(network.graph.nodes)).users
    plain = all(
        node.op == "call_module" and type(network.get_submodule(str(node.target))) is nn.Conv2d
        for node in readers
    ) and all(map(takes_channels_last, network.modules()))
    return x.contiguous(memory_format=torch.channels_last) if plain and x.ndim == 4 else x
