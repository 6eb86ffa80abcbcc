"""docs/operations.md is what the rows say."""

from pathlib import Path

from spikeport.convert.graph.operations import table
from spikeport.scripts.coverage.operations_page import page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def cells(text):
    """The columns that come from the rows, without what was run."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [line.rpartition(" | ")[0] for line in lines]


def test_the_page_is_up_to_date():
    printed = page({row.name: "" for row in table.rows()})
    assert cells((DOCS / "operations.md").read_text("utf-8")) == cells(printed)


def test_all_verbs_hold():
    lines = (DOCS / "operations.md").read_text("utf-8").splitlines()
    found = {line.rpartition("| ")[2].strip(" |") for line in lines if line.startswith("| `")}
    assert found <= {"all", ""}
