"""Files of a training that may be stopped at any moment."""

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def save_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes beside `path` and moves it there, so that a stop leaves the old file or the new."""
    beside = path.with_name(path.name + ".part")
    write(beside)
    os.replace(beside, path)


def write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """One line per epoch."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 5) for k, v in row.items()} for row in rows)
