"""SpikingJelly's integrate-and-fire neurons behind ``torch.compile``.

Its operators are registered for it; on a CPU that fuses the loop over a chunk into one kernel.
"""

from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based.functional import if_multi_step
from torch import Tensor
from torch._inductor import config as inductor

from spikeport.scripts.peers.peer import Mode
from spikeport.scripts.peers.spikingjelly_implementations import available, choose

TIME_FIRST = True
MOST_STEPS = 8  # the loop over them is unrolled: more take minutes to compile
SIZES = 64  # kernels that torch keeps; beyond its default of 8 it would silently not compile


def _fire(current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    spikes, v, _ = if_multi_step(current, v, v_threshold=1.0, v_reset=None)
    return spikes, v


class Compiled:
    """The sequence operator; one compilation for each chunk size, whatever the layer.

    Args:
        implementation: of the operator on a GPU.
    """

    compiled: Any = None
    made_for = ""  # the implementation that is compiled in

    def __init__(self, implementation: str = "auto") -> None:
        self.implementation = implementation
        if Compiled.made_for != implementation:
            Compiled.made_for, Compiled.compiled = implementation, _compile(implementation)

    def start(self, v0: Tensor) -> None:
        """See ``Layer``."""
        choose(self.implementation)
        self.v = v0.flatten()

    def __call__(self, current: Tensor) -> Tensor:
        """[t, B, ...] to [t, B, ...]."""
        spikes, self.v = Compiled.compiled(current.flatten(1), self.v)
        found: Tensor = spikes.view(current.shape)
        return found


def _compile(implementation: str) -> Any:
    torch._dynamo.config.cache_size_limit = SIZES
    if implementation != "auto":  # torch would take one implementation's code for another's
        inductor.force_disable_caches = True
        torch.compiler.reset()
    return torch.compile(_fire, dynamic=True)


def modes(device: torch.device) -> tuple[Mode, ...]:
    """SpikingJelly's modes on a device; on a GPU the operator in each implementation there is.

    Only torch's operations are unrolled; the others are kernels for any number of timesteps.
    """
    if device.type == "cpu":
        return (Mode("multi-step, torch.compile", Compiled, MOST_STEPS),)
    return tuple(
        Mode(
            f"multi-step, {name}, torch.compile",
            partial(Compiled, name),
            MOST_STEPS if name == "torch" else None,
        )
        for name in available(device, "compile")
    )
