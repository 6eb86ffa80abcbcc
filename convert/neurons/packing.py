"""Numbers of events that carry a graded spike, by the way in which it travels."""

from collections.abc import Callable

import torch
from torch import Tensor


def _unary(spikes: Tensor) -> Tensor:
    return spikes.abs()


def _binary_weighted(spikes: Tensor) -> Tensor:
    left, ones = spikes.abs().round().to(torch.int64), torch.zeros_like(spikes)
    while bool(left.any()):
        ones += left & 1
        left >>= 1
    return ones


def _packet(spikes: Tensor) -> Tensor:
    return (spikes != 0).to(spikes.dtype)


# Numbers of events for spikes of n thresholds, of either sign, shaped like the spikes:
# "unary": |n| single spikes, as binary chips send them;
# "binary-weighted": one event, a shift, for each bit that is set in |n|;
# "packet": one event with n as its payload, which costs the receiver a small multiply-accumulate.
EVENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "unary": _unary,
    "binary-weighted": _binary_weighted,
    "packet": _packet,
}
