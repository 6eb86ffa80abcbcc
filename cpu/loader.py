"""Finds and opens the engine's shared library."""

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_uint64, c_void_p
from functools import cache
from pathlib import Path

import torch

from spikeport.cpu.compiler import NAME
from spikeport.cpu.structs import LayerStruct, MaxPoolStruct, StreamStruct, SumsStruct

NOT_WHOLE = 3
ERRORS = {
    1: "not enough memory",
    2: "this machine has no such instruction set",
    NOT_WHOLE: "a current of an integer layer holds numbers that are not whole, or beyond 2^24",
}


class EngineError(RuntimeError):
    """The engine is missing, refused its arguments, or failed."""


class Unsuited(EngineError):
    """The engine does not compute such a layer on such inputs; torch may."""


def why_unavailable() -> str | None:
    """None if the engine can run here, otherwise the reason and the way out, in one line."""
    path = Path(__file__).parent / NAME
    if not path.exists():
        return (
            "the native engine was not built when spikeport was installed: install a C++17 "
            "compiler (g++ or clang++) and reinstall spikeport"
        )
    try:
        _open(path)
    except (OSError, AttributeError) as error:
        return f"the native engine does not load ({error}): reinstall spikeport"
    return None


def library() -> ctypes.CDLL:
    """The engine; raises EngineError where ``why_unavailable`` gives a reason."""
    return _library_beside(__file__)


@cache
def _library_beside(file: str) -> ctypes.CDLL:
    reason = why_unavailable()
    if reason:
        raise EngineError(reason)
    return _open(Path(file).parent / NAME)


def paths() -> list[str]:
    """The instruction sets that this machine can run, best first."""
    return str(library().sp_paths().decode()).split()


def peak_adds(path: str = "") -> float:
    """Additions per second of one thread on vectors in the L1 cache, measured."""
    return float(library().sp_peak_adds(path.encode()))


def peak_short_adds(path: str = "") -> float:
    """The same for 16-bit numbers in registers: what weights of a byte are added up in."""
    return float(library().sp_peak_short_adds(path.encode()))


def threads_or_all(threads: int | None) -> int:
    """The given number of threads, or as many as torch uses."""
    found = torch.get_num_threads() if threads is None else threads
    if found < 1:
        raise EngineError(f"threads is {found}; expected an int >= 1")
    return found


def check(status: int) -> None:
    """Raise EngineError unless a call returned 0, Unsuited where torch can do it."""
    if status == NOT_WHOLE:
        raise Unsuited(ERRORS[NOT_WHOLE])
    if status:
        raise EngineError(f"the native engine failed: {ERRORS.get(status, status)}")


@cache
def _open(path: Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(path))
    stream = POINTER(StreamStruct)
    signatures = {
        "sp_paths": ([], c_char_p),
        "sp_peak_adds": ([c_char_p], c_double),
        "sp_peak_short_adds": ([c_char_p], c_double),
        "sp_run_layer": ([POINTER(LayerStruct), c_char_p, c_int], c_int),
        "sp_run_maxpool": ([POINTER(MaxPoolStruct), c_char_p, c_int], c_int),
        "sp_run_sums": ([POINTER(SumsStruct), c_char_p, c_int], c_int),
        "sp_unpack": ([stream, c_int, c_int, c_int, c_void_p, c_void_p, c_int], c_int),
        "sp_pack": ([c_void_p, c_int, c_void_p, stream, c_void_p, c_int], c_int),
        "sp_digest": ([c_void_p, c_int64], c_uint64),
        "sp_count": ([stream, c_int, c_void_p, c_int], c_int),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, result
    return found
