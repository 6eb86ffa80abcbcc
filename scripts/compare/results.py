"""The results of `compare_methods`: a .csv that finished cells are appended to."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

TEXTS = ("status", "recipe", "neuron", "latency", "readout", "levels")
NUMBERS = (
    "T",
    "top1",
    "drop_points",
    "agreement",
    "spikes_per_neuron",
    "acs",
    "acs_per_source_mac",
    "macs",
    "energy_uj",
    "calibration_seconds",  # with the conversion
    "simulation_seconds",  # of the whole run
    "simulated_T",  # the largest T of the run that the row was read from
    "calibrated_for_T",
    "images",
    "calibration_images",
    "source_top1",
    "source_macs",
    "source_energy_uj",
)
ORIGIN = ("model", "weights", "calibration", "evaluation", "seed", "calibration_batch")
# The key comes last: a row that was cut off is known by it.
COLUMNS = (*TEXTS, *NUMBERS, *ORIGIN, "passes", "neuron_model", "error", "key")
KEY_LENGTH = 16

OK, FAILED, REFUSED = "ok", "failed", "refused"

Row = dict[str, Any]


class Results:
    """Rows of a file, one for each cell of the table; the last one with a key counts.

    Args:
        path: of the .csv; made when the first row is appended.

    Raises:
        ValueError: the file has other columns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines()

    def rows(self) -> list[Row]:
        """All rows, the latest last; numbers as int or float, None where there is none."""
        found = []
        for line in self._lines():
            # Each line for itself: an open quote in one that was cut off ends with it.
            cells = next(csv.reader([line]), [])
            if len(cells) == len(COLUMNS) and len(cells[-1]) == KEY_LENGTH:
                row: Row = dict(zip(COLUMNS, cells, strict=True))
                found.append(row | {name: _number(row[name]) for name in NUMBERS})
        return found

    def by_key(self) -> dict[str, Row]:
        """The latest row of each key."""
        return {row["key"]: row for row in self.rows()}

    def append(self, rows: Iterable[Row]) -> None:
        """Adds rows in one write, so that several programs may share the file."""
        text = "" if self.path.exists() else _csv([COLUMNS])
        if not text and not self.path.read_bytes().endswith(b"\n"):
            text = "\n"  # after a row that was cut off
        text += _csv([_text(row.get(name)) for name in COLUMNS] for row in rows)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(file, text.encode())
            os.fsync(file)
        finally:
            os.close(file)

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        head, _, body = self.path.read_text(encoding="utf-8").partition("\n")
        if head.split(",") != list(COLUMNS):
            raise ValueError(
                f"'{self.path}' has other columns than this version writes; name another folder"
            )
        return [line for line in body.splitlines() if line and line != head]


def _csv(lines: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.7g}"
    return " ".join(str(value).split())  # a row is a line, also with an error of several lines


def _number(text: str) -> int | float | None:
    if not text:
        return None
    return int(text) if text.lstrip("-").isdecimal() else float(text)
