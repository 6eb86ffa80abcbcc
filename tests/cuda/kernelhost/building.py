"""Compiles kernels with the host's C++ compiler, once for each text and set of macros."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from spikeport.cuda.source import Build

FOLDER = Path(__file__).parent
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
FLAGS = (
    *("-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE", f"-I{FOLDER}"),
    *("-ffp-contract=off", "-fno-strict-aliasing"),
    "-fsanitize=signed-integer-overflow,shift,bounds,float-cast-overflow",
    "-fsanitize-undefined-trap-on-error",
)


class HostError(AssertionError):
    """A kernel, or its launch, did something wrong."""


@cache
def runtime() -> ctypes.CDLL:
    """The library that runs grids; its symbols are there for the kernels."""
    text = (FOLDER / "runtime.cpp").read_text("utf-8")
    library = ctypes.CDLL(str(_compiled("runtime", text, ())), mode=ctypes.RTLD_GLOBAL)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.host_guarded.argtypes = [size, size, ctypes.c_int, ctypes.POINTER(pointer)]
    library.host_guarded.restype = pointer
    library.host_release.argtypes = [pointer, size]
    library.host_run.argtypes = [
        *(pointer, pointer, pointer, ctypes.c_uint, ctypes.c_uint64, ctypes.c_uint64),
        *(ctypes.c_int, ctypes.c_uint64, pointer, size, ctypes.c_char_p, size),
    ]
    return library


@cache
def library(build: Build, text: str) -> ctypes.CDLL:
    """A kernel as a library; the text may be changed to see whether the change is noticed."""
    runtime()
    whole = f'#include "shim.h"\n{text}\nHOST_KERNEL({build.kernel})\n'
    found = ctypes.CDLL(str(_compiled(build.kernel, whole, build.flags)))
    found.host_types.restype = ctypes.c_char_p
    found.host_shared.restype = ctypes.c_void_p
    found.host_shared_size.restype = ctypes.c_size_t
    return found


def parameter_types(build: Build) -> list[str]:
    """C types of a kernel's parameters as the compiler sees them, ``const float*``."""
    said = library(build, build.text).host_types().decode()
    inside = re.search(r"A = \{(.*)\}", said)
    assert inside is not None, said
    return [part.strip() for part in inside[1].split(",")]


def _compiled(name: str, text: str, flags: tuple[str, ...]) -> Path:
    if COMPILER is None:
        raise HostError("no C++ compiler: install g++, or name one in CXX")
    fused = ("-mfma",) if "fma" in _cpu() else ()
    command = (COMPILER, *FLAGS, *fused, *flags)
    key = "\0".join([text, (FOLDER / "shim.h").read_text("utf-8"), *command])
    folder = Path(tempfile.gettempdir()) / f"spikeport-kernels-{os.getuid()}"
    target = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.so"
    if not target.exists():
        folder.mkdir(exist_ok=True, mode=0o700)
        part = target.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [*command, "-x", "c++", "-", "-o", str(part)],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise HostError(f"{name} does not compile:\n{done.stderr}")
        part.replace(target)
    return target


@cache
def _cpu() -> set[str]:
    """Features of the CPU: fmaf is one instruction with "fma", and a slow function without."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())
