"""sinabs' integrate-and-fire neurons."""

import torch
from sinabs.activation import MembraneSubtract, SingleSpike
from sinabs.layers import IAF
from torch import Tensor

from spikeport.scripts.peers.peer import Mode

TIME_FIRST = False


class Neurons:
    """IAF with at most one spike per timestep."""

    def __init__(self) -> None:
        self.node = IAF(spike_fn=SingleSpike, reset_fn=MembraneSubtract()).eval()

    def start(self, v0: Tensor) -> None:
        """See ``Layer``."""
        self.node.v_mem = v0.contiguous()

    def __call__(self, current: Tensor) -> Tensor:
        """[B, t, ...] to [B, t, ...]."""
        spikes: Tensor = self.node(current)
        return spikes


def modes(device: torch.device) -> tuple[Mode, ...]:
    """The same on every device."""
    return (Mode("IAF", Neurons),)
