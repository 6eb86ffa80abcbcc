"""Tests marked `gpu` are skipped where the GPU backend cannot run; fixtures for all."""

from collections.abc import Iterator

import pytest

from spikeport.convert import extension, ops
from spikeport.cuda.available import why_unavailable


@pytest.fixture
def forget_operations() -> Iterator[None]:
    """Takes back what a test registers with `register_op`, which holds for the process."""
    tables = [*extension.ACTS.values(), extension.LEAVES, ops.REGISTERED]
    kept = [set(table) for table in tables]
    yield
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)
    extension.REWRITES.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = why_unavailable() if marked else None  # importing CuPy takes a second
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
