"""Numbers on a grid: every sum of them is exact, in any order."""

import torch
from torch import Tensor

from spikeport.convert import SpikingNetwork

GRID = 1 / 32


def rounded(values: Tensor, grid: float = GRID) -> Tensor:
    """The nearest multiples of a power of two."""
    return (values / grid).round() * grid


@torch.no_grad()
def on_grid(network: SpikingNetwork, grid: float = GRID) -> SpikingNetwork:
    """The network itself, with its weights on the grid, thresholds of 1/2 and potentials of 1/4."""
    for name, parameter in network.named_parameters():
        if name.endswith((".threshold", ".v0")):
            parameter.fill_(0.5 if name.endswith("threshold") else 0.25)
        else:
            parameter.copy_(rounded(parameter, grid))
    return network
