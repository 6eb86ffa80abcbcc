"""Tests of the native engine are skipped where it is not built."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from spikeport.cpu.loader import why_unavailable

HERE = Path(__file__).parent
settings.register_profile(
    "spikeport-cpu",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("spikeport-cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_unavailable()
    for item in items:
        if reason and HERE in item.path.parents and "without_engine" not in item.name:
            item.add_marker(pytest.mark.skip(reason=reason))
