"""Writing files: the old one stays until the new one is whole; a device stays a device."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from spikeport.convert import files
from spikeport.convert.files import is_stream, replacing, write_text

linux = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, there, error):
    path = tmp_path / "file"
    if there:
        path.write_text("old")
    with pytest.raises(error), replacing(path) as file:  # noqa: PT012
        file.write(b"half")
        file.flush()
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["file"] * there
    assert not there or path.read_text() == "old"


def test_the_new_file_appears_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path):
    """Neither sees the other's bytes, nor a user's file of a likely name."""
    path, likely = tmp_path / "x.csv", tmp_path / ".x.part.csv"
    likely.write_text("mine")
    with replacing(path) as one, replacing(path) as other:
        one.write(b"1" * 10)
        other.write(b"2" * 5)
    assert path.read_text() == "1" * 10
    assert likely.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_permissions_are_kept(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_text(tmp_path / "ours", "")
    usual, ours = ((tmp_path / name).stat().st_mode for name in ("usual", "ours"))
    assert usual == ours


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_stays_one(tmp_path, dangling):
    target, link, second = tmp_path / "folder" / "target", tmp_path / "link", tmp_path / "second"
    target.parent.mkdir()
    if not dangling:
        target.write_text("old")
    link.symlink_to("folder/target")
    second.symlink_to(link)
    write_text(second, "new")
    assert second.is_symlink()
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert not target.is_symlink()


def test_what_cannot_be_written_is_refused_at_once(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path, tmp_path / "nowhere" / "file", loop):
        with pytest.raises(OSError), replacing(path):  # noqa: PT011
            pytest.fail("the body must not be run")
    if os.geteuid():  # the administrator may write everywhere
        path = tmp_path / "locked"
        path.touch(0o444)
        with pytest.raises(PermissionError), replacing(path):
            pytest.fail("the body must not be run")


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("é" * 127)  # of 255 bytes
    write_text(path, "x")
    assert path.read_text() == "x"


@linux
def test_a_pipe_stays_one(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    while not read and reader.is_alive():
        try:
            write_text(pipe, "x" * 200_000)  # more than it holds
            break
        except OSError:  # the reader has not opened it yet
            continue
    reader.join()
    assert read == ["x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@linux
def test_a_pipe_that_nobody_reads_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="nobody reads"):
        write_text(tmp_path / "pipe", "x")


@linux
def test_devices_are_written_to(tmp_path):
    write_text(os.devnull, "x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert is_stream(os.devnull)
    assert not is_stream(tmp_path)
    assert not is_stream(tmp_path / "none")
    link = tmp_path / "link"
    link.symlink_to(os.devnull)
    write_text(link, "x")
    assert link.is_symlink()


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="the system has no /dev/stdout")
@pytest.mark.parametrize("to", ["pipe", "file"])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
def test_standard_output_goes_where_it_is_sent(tmp_path, to, name):
    """A redirected standard output is a file, and still not one to replace."""
    if name == "link":
        (tmp_path / name).symlink_to("/dev/stdout")
    code = (  # without the package, whose import takes seconds
        "import runpy\n"
        f"write_text = runpy.run_path({files.__file__!r})['write_text']\n"
        "print('before')\n"
        f"write_text({name!r}, 'within\\n')\n"
        "print('after')\n"
    )
    out = tmp_path / "out.txt"
    out.write_text("")
    with open(out, "w") as file:
        stdout = subprocess.PIPE if to == "pipe" else file
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=stdout, text=True, cwd=tmp_path, check=True
        )
    text = done.stdout if to == "pipe" else out.read_text()
    assert text.split() == ["before", "within", "after"]
