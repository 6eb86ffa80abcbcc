"""The parts of the check, in order, and the seconds that each may take."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from spikeport.scripts.gpu_check import kernels, networks, products, property_tests, training
from spikeport.scripts.gpu_check.deadline import Deadline

TOTAL = 480.0  # seconds, of all of them with all that starts them


class Section(NamedTuple):
    """One part.

    Attributes:
        seconds: that it may take; together they are fewer than TOTAL.
        measure: yields what it has found so far, JSON-able, again and again: what it has yielded
            last is kept if it fails or is stopped.
    """

    seconds: float
    measure: Callable[[torch.device, Deadline], Iterator[dict[str, Any]]]


SECTIONS: dict[str, Section] = {
    "kernels": Section(40, kernels.measure),
    "tests": Section(100, property_tests.measure),
    "memcheck": Section(40, property_tests.check_memory),
    "products": Section(20, products.measure),
    "networks": Section(210, networks.measure),
    "training": Section(40, training.measure),
}
