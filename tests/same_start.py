"""A fixture for tests of small networks: each starts in the same way."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """One seed; and one thread, because these networks are too small to be worth two."""
    torch.default_generator.manual_seed(0)  # torch.manual_seed formats a stack for every GPU
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
