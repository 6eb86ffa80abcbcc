"""SpikingJelly's implementations of its IF operator on a GPU.

It takes the first that runs; which one is fixed for a process by the environment variable
SJ_IF_CUDA_IMPLEMENTATION. To compare them in one process, the object that read it is told.
"""

import torch
from spikingjelly._ops.if_ import _selection

IMPLEMENTATIONS = ("cuda", "triton", "torch")  # "cuda": only in builds from source


def choose(name: str) -> None:
    """Let the operator's calls from now on run this implementation."""
    if _selection._requested != name:
        _selection._requested = name
        _selection._selections.clear()
        _selection._compiled_selections.clear()


def available(device: torch.device, execution: str = "eager") -> list[str]:
    """Implementations that run on a GPU; ``execution``: "eager", or "compile" for torch.compile."""
    found = []
    for name in IMPLEMENTATIONS:
        choose(name)
        try:
            _selection.diagnostics(device, execution=execution)
        except RuntimeError:  # its libraries are missing, or not for this GPU
            continue
        found.append(name)
    choose("auto")
    return found
