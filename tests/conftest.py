"""For all tests: those marked `gpu` need a GPU; what tests measured is shown at the end.

A test shows a text by ``record_property("shown", text)``, which also comes through from the other
processes of `pytest -n`.
"""

from collections.abc import Iterator

import pytest

from spikeport.convert.graph.operations.table import REGISTERED
from spikeport.convert.tracing import register_op as extension
from spikeport.cuda.available import why_unavailable


@pytest.fixture
def forget_operations() -> Iterator[None]:
    """Takes back what a test registers with `register_op`, which holds for the process."""
    rows, leaves = dict(REGISTERED), set(extension.LEAVES)
    yield
    for table, before in ((REGISTERED, rows), (extension.LEAVES, leaves)):
        table.clear()
        table.update(before)
    extension.REWRITES.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = why_unavailable() if marked else None  # importing CuPy takes a second
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("")  # of teardowns: one for every test
    measured = [pair for report in reports for pair in report.user_properties]
    for kind, text in measured:
        if kind == "shown":
            terminalreporter.write_line(text)
    usages = dict(row for kind, row in measured if kind == "kernel usage")
    if usages:
        from spikeport.scripts.experiments.kernel_table import Usage, table

        rows = {name: [Usage(*one) for one in row] for name, row in usages.items()}
        terminalreporter.section("GPU kernels by architecture")
        terminalreporter.write_line(table(rows))
