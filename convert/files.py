"""Writing a file so that a failure at any moment leaves what was there before."""

import contextlib
import csv
import errno
import io
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

_DESCRIPTORS = ("/proc/", "/dev/fd")  # folders of open descriptors: /dev/stdout lies there too


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to write bytes, which takes the target's place at the end if all went well.

    The bytes are written beside the target, under a random name, and are on the disk before they
    take its place. A symbolic link stays one: what it points to is replaced. An existing file's
    permissions are kept. What is no file (a device, a pipe, an open descriptor such as
    ``/dev/stdout``) is not replaced: it is sent the bytes at the end.

    Args:
        path: the target; its folder exists.

    Raises:
        OSError: the target is a folder, must not be written, or lies in no folder; a pipe that
            nobody reads; a full disk.
    """
    path = Path(path)
    with _sent_to(path) if is_stream(path) else _moved_to(path) as file:
        yield file


@contextlib.contextmanager
def _moved_to(path: Path) -> Iterator[BinaryIO]:
    """A file beside the path that takes its place."""
    mode = _mode(path)
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.chmod(beside, mode)
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    _sync(target.parent)


@contextlib.contextmanager
def _sent_to(path: Path) -> Iterator[BinaryIO]:
    """A file whose content is sent to the path."""
    with tempfile.TemporaryFile() as file:
        yield cast(BinaryIO, file)
        file.seek(0)
        with _stream(path) as target:
            shutil.copyfileobj(file, target)


def _mode(path: Path) -> int | None:
    """The permissions of a file that may be replaced; None where there is none yet."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return stat.S_IMODE(mode)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8; see ``replacing``."""
    with replacing(path) as file:
        file.write(text.encode())


def write_csv(file: BinaryIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """The named columns of the rows, under their names; UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    file.write(text.getvalue().encode())


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a device, a pipe or an open descriptor, which have no ending of a name."""
    path = Path(path)
    if not path.exists() or path.is_dir():
        return False
    return not path.is_file() or _descriptor_of(path) is not None


def _descriptor_of(path: Path) -> Path | None:
    """The name among the open descriptors that an existing path leads to, by any links."""
    step = str(path)
    while True:
        folder, name = os.path.split(os.path.abspath(step))
        folder = os.path.realpath(folder)
        if folder.startswith(_DESCRIPTORS):
            return Path(folder, name)
        if not os.path.islink(step):
            return None
        step = os.path.join(folder, os.readlink(step))


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[BinaryIO]:
    """A device or a pipe, opened to write to.

    A descriptor of this process is written to as it is: opening it anew would begin at the start of
    the file that it may be redirected to.
    """
    found = _descriptor_of(path)
    if found is not None and found.name.isdecimal() and _is_own(found):
        sys.stdout.flush()
        sys.stderr.flush()
        with os.fdopen(os.dup(int(found.name)), "wb") as file:
            yield file
        return
    try:  # a pipe that nobody reads would block for ever
        number = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise OSError(errno.ENXIO, "nobody reads from this pipe", str(path)) from error
    os.set_blocking(number, True)
    with os.fdopen(number, "wb") as file:
        yield file


def _is_own(descriptor: Path) -> bool:
    return descriptor.parent in (Path("/dev/fd"), Path(f"/proc/{os.getpid()}/fd"))


def _sync(folder: Path) -> None:
    """Put the new name on the disk too, where the system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
