"""Builds the engine from ``src/``; also run by ``setup.py``, so it imports nothing of ours."""

import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).parent / "src"
NAME = "engine.so"
# -ffp-contract=off: v - n * threshold is rounded twice, as in torch
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
STRICT = (
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Wno-unused-function",
    "-Wno-maybe-uninitialized",
)
# each file of kernels with the instructions it may use; the rest runs on any machine
INSTRUCTIONS = {
    "kernels_avx512": (
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vbmi2"),
        *("-mpopcnt", "-mbmi", "-mfma"),
    ),
    "kernels_avx2": ("-mavx2", "-mfma", "-mbmi"),
}


class BuildError(Exception):
    """The engine could not be built; the message is one line."""


def compiler() -> list[str]:
    """The C++ compiler: $CXX, or the first of g++, clang++ and c++ that is there."""
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler found (looked for $CXX, g++, clang++, c++)")


def sources() -> list[Path]:
    """The files to compile on this machine."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return [file for file in sorted(SOURCE.glob("*.cpp")) if x86 or file.stem not in INSTRUCTIONS]


def build(target: Path, extra: Sequence[str] = ()) -> None:
    """Compile and link the engine.

    Args:
        target: the shared library to write.
        extra: more flags, such as ``-fsanitize=address``.

    Raises:
        BuildError: no compiler, or it failed.
    """
    command = compiler()
    with tempfile.TemporaryDirectory() as folder:
        files = sources()
        objects = [str(Path(folder) / f"{file.stem}.o") for file in files]

        def compile_one(pair: tuple[Path, str]) -> None:
            file, made = pair
            flags = (*FLAGS, *STRICT, *INSTRUCTIONS.get(file.stem, ()), *extra)
            _run([*command, *flags, "-c", str(file), "-o", made])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, zip(files, objects, strict=True)))
        target.parent.mkdir(parents=True, exist_ok=True)
        linked = str(Path(folder) / NAME)
        _run([*command, "-shared", "-pthread", *extra, *objects, "-o", linked])
        # not written in place: a running process may have the old one mapped
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copy(linked, fresh)
        os.replace(fresh, target)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise BuildError(f"{command[0]} failed: {lines[0].strip()}")
