"""Results as files: the ending names the format."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from spikeport.convert import ConversionError
from spikeport.convert.files import is_stream, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = TypeVar("Result")
# by ending, such as ".csv": writes a result to an open file
Formats = Mapping[str, Callable[[Result, BinaryIO], None]]


def write(result: Result, path: str | os.PathLike[str], formats: Formats[Result]) -> None:
    """Write a file in the format of its ending; a device or a pipe without one gets the first.

    An older file is replaced once the new one is complete; see ``replacing``.

    Raises:
        ConversionError: another ending.
        OSError: the file cannot be written.
    """
    ending = Path(path).suffix
    if not ending and is_stream(path):
        ending = next(iter(formats))
    if ending not in formats:
        raise ConversionError(
            f"'{path}' ends in '{ending}'; expected one of {', '.join(sorted(formats))}"
        )
    with replacing(path) as file:
        formats[ending](result, file)


def pictures(draw: "Callable[[Result], Figure]") -> Formats[Result]:
    """The image formats of what can be drawn."""

    def writer(form: str) -> Callable[[Result, BinaryIO], None]:
        def write_one(result: Result, file: BinaryIO) -> None:
            from spikeport.report.drawing.output import write_picture  # only here: matplotlib

            write_picture(lambda: draw(result), file, form)

        return write_one

    return {f".{form}": writer(form) for form in ("png", "svg", "pdf")}


def write_json(file: BinaryIO, content: Any) -> None:
    """Indented, UTF-8."""
    file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
