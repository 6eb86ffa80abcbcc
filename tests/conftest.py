"""Tests marked `gpu` are skipped where the GPU backend cannot run."""

import pytest

from spikeport.cuda.available import why_unavailable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = why_unavailable() if marked else None  # importing CuPy takes a second
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
