"""Random numbers: a spiking network gives the same answer to the same input."""

from typing import Any

import torch
from torch import fx


def draws(node: fx.Node) -> bool:
    """Whether a node calls a function of torch that draws random numbers, as torch tags it."""
    packet: Any = getattr(torch.ops.aten, str(node.meta.get("op", "")), None)
    return packet is not None and any(
        torch.Tag.nondeterministic_seeded in getattr(packet, overload).tags
        for overload in packet.overloads()
    )
