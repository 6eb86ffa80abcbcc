"""Several processes that work together, each on its share of the images.

``torchrun --nproc_per_node=N`` starts them, and the program initialises ``torch.distributed``.
Without it there is one process, and nothing here does anything.
"""

from typing import Any

from torch import Tensor, distributed


def count() -> int:
    """Processes that work together."""
    active = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if active else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Whether this process writes files and shows bars."""
    return rank() == 0


def from_first(value: Any) -> Any:
    """An object of the first process, in all of them; others' own is not read."""
    if count() == 1:
        return value
    holder = [value if is_first() else None]
    distributed.broadcast_object_list(holder)
    return holder[0]


def added(values: Tensor) -> Tensor:
    """Elementwise sum over the processes, on the CPU."""
    if count() == 1:
        return values.cpu()
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    values = values.to(device, copy=True)
    distributed.all_reduce(values)
    return values.cpu()
