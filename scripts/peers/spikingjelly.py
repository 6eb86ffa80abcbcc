"""SpikingJelly's integrate-and-fire neurons."""

from functools import partial

import torch
from spikingjelly.activation_based.neuron import IFNode
from torch import Tensor

from spikeport.scripts.peers.peer import Mode
from spikeport.scripts.peers.spikingjelly_implementations import available, choose

TIME_FIRST = True


class _Layer:
    def __init__(self, step_mode: str) -> None:
        # v_reset=None is its soft reset; its threshold is a float, hence the folded weights
        self.node = IFNode(v_threshold=1.0, v_reset=None, step_mode=step_mode).eval()

    def start(self, v0: Tensor) -> None:
        """See ``Layer``."""
        self.node.reset()
        self.node.v = v0.contiguous()


class MultiStep(_Layer):
    """step_mode "m": its sequence operator, which keeps every potential of the chunk.

    Args:
        implementation: of the operator on a GPU.
    """

    def __init__(self, implementation: str = "auto") -> None:
        super().__init__("m")
        self.implementation = implementation

    def start(self, v0: Tensor) -> None:
        """See ``Layer``."""
        choose(self.implementation)
        super().start(v0)

    def __call__(self, current: Tensor) -> Tensor:
        """[t, B, ...] to [t, B, ...]."""
        spikes: Tensor = self.node(current)
        return spikes


class SingleStep(_Layer):
    """step_mode "s": plain torch operations, one timestep a call."""

    def __init__(self) -> None:
        super().__init__("s")

    def __call__(self, current: Tensor) -> Tensor:
        """[1, B, ...] to [1, B, ...]."""
        spikes: Tensor = self.node(current[0])
        return spikes[None]


def modes(device: torch.device) -> tuple[Mode, ...]:
    """SpikingJelly's modes on a device; on a GPU the sequence operator in each implementation."""
    single = Mode("single-step", SingleStep, 1)
    if device.type == "cpu":
        return Mode("multi-step", MultiStep), single
    names = available(device)
    return *(Mode(f"multi-step, {name}", partial(MultiStep, name)) for name in names), single
