"""SpikingJelly's integrate-and-fire neurons behind ``torch.compile``.

Its operators are registered for it; on a CPU that fuses the loop over a chunk into one kernel.
"""

from typing import Any

import torch
from spikingjelly.activation_based.functional import if_multi_step
from torch import Tensor

from spikeport.scripts.peers.peer import Mode

TIME_FIRST = True
MOST_STEPS = 8  # the loop over them is unrolled: more take minutes to compile
SIZES = 64  # kernels that torch keeps; beyond its default of 8 it would silently not compile


def _fire(current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    spikes, v, _ = if_multi_step(current, v, v_threshold=1.0, v_reset=None)
    return spikes, v


class Compiled:
    """The sequence operator; one compilation for each chunk size, whatever the layer."""

    compiled: Any = None

    def __init__(self) -> None:
        if Compiled.compiled is None:
            torch._dynamo.config.cache_size_limit = SIZES
            Compiled.compiled = torch.compile(_fire, dynamic=True)

    def start(self, v0: Tensor) -> None:
        """See ``Layer``."""
        self.v = v0.flatten()

    def __call__(self, current: Tensor) -> Tensor:
        """[t, B, ...] to [t, B, ...]."""
        spikes, self.v = Compiled.compiled(current.flatten(1), self.v)
        found: Tensor = spikes.view(current.shape)
        return found


MODES = (Mode("multi-step, torch.compile", Compiled, MOST_STEPS),)
