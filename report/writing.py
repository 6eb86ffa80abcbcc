"""Results as files: the ending names the format, and a file is replaced by a whole one only."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeport.convert import ConversionError


def write(path: str | os.PathLike[str], writers: Mapping[str, Callable[[Path], None]]) -> None:
    """Write a file in the format of its ending.

    Args:
        path: the file.
        writers: by ending, such as ".csv": writes to the path it is given.

    Raises:
        ConversionError: another ending.
    """
    path = Path(path)
    if path.suffix not in writers:
        raise ConversionError(
            f"'{path}' ends in '{path.suffix}'; expected one of {sorted(writers)}"
        )
    beside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        writers[path.suffix](beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Indented, UTF-8."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """The named columns of the rows, under their names."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
