"""Compiles the GPU kernels for every architecture, without a GPU: what each form of them takes.

Run it as ``python -m spikeport.scripts.experiments.kernel_table``. NVRTC, the compiler that CuPy
uses, comes with the CUDA builds of torch, and with ``pip install cuda-bindings nvidia-cuda-nvrtc``.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from spikeport.cuda.source import FIXED_OPTIONS, Build

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
OWN_OPTIONS = ("--std=c++17", "-ftz=true")  # that CuPy adds

_SCAN = {
    **{"SP_IN": "float", "SP_OUT": "u32", "SP_VECTOR": 4, "SP_EMIT": 1, "SP_PLANES": 1},
    **{"SP_NEURON": 0, "SP_BOUNDS": 0, "SP_BITS": 0, "SP_STATE": "float", "SP_VALUE": 0},
    **{"SP_CONSTANT": 0, "SP_RESIDUAL": 0, "SP_COUNT": 0},
}
_GENERAL = {"SP_NEURON": 2, "SP_BOUNDS": 2}
_SIGNED = {"SP_NEURON": 1, "SP_BOUNDS": 1, "SP_PLANES": 2}
_WHOLE = {"SP_BITS": 24, "SP_VALUE": 1}
_WIDE = {"SP_BITS": 32, "SP_STATE": "double", "SP_VALUE": 1}
_HALF = {"SP_IN": "half_t", "SP_VECTOR": 8}
_FLOATS = {"SP_IN": "float", "SP_OUT": "float"}
_HALVES = {"SP_IN": "half_t", "SP_OUT": "half_t"}


def _scan(*changes: dict[str, Any], **more: Any) -> Build:
    settings = dict(_SCAN)
    for change in (*changes, more):
        settings |= change
    return Build.of("scan", **settings)


# name: (form, most registers on any architecture). No kernel may spill. Of blocks of 128 threads
# a multiprocessor holds 8 up to 64 registers, 5 up to 96, 4 up to 128, 3 up to 168.
BUDGET: dict[str, tuple[Build, int]] = {
    "scan if float packed": (_scan(), 72),
    "scan signed half packed": (_scan(_HALF, _SIGNED), 80),
    "scan general float packed": (_scan(_GENERAL, SP_PLANES=4), 168),
    "scan general half values": (_scan(_GENERAL, _HALF, SP_OUT="half_t", SP_EMIT=3), 120),
    "scan constant float values": (_scan(_FLOATS, SP_EMIT=3, SP_CONSTANT=1), 64),
    "scan residual, counted": (_scan(_GENERAL, _HALF, SP_RESIDUAL=1, SP_COUNT=1, SP_PLANES=4), 168),
    "scan whole signed values": (_scan(_FLOATS, _SIGNED, _WHOLE, SP_EMIT=3), 80),
    "scan whole general, 32 bits": (_scan(_FLOATS, _GENERAL, _WIDE, SP_EMIT=3), 128),
    "scan one by one": (_scan(_GENERAL, SP_VECTOR=1, SP_PLANES=4), 128),
    "unpack": (Build.of("unpack", **_HALVES, SP_VECTOR=8), 48),
    "avgpool": (Build.of("avgpool", **_FLOATS), 56),
    "linear": (Build.of("linear", **_FLOATS), 48),
    "running_mean": (Build.of("running_mean", **_FLOATS, SP_VECTOR=4), 64),
    "emit_difference": (Build.of("emit_difference", **_HALVES, SP_VECTOR=8), 64),
}
MORE: dict[str, Build] = {
    "scan if half packed": _scan(_HALF),
    "scan if bfloat packed": _scan(_HALF, SP_IN="bfloat_t"),
    "scan signed float packed": _scan(_SIGNED),
    "scan signed, bounded": _scan(_SIGNED, SP_BOUNDS=2),
    "scan float counts": _scan(_GENERAL, SP_OUT="i8", SP_EMIT=2),
    "scan nothing, counted": _scan(_GENERAL, SP_EMIT=0, SP_COUNT=1),
    "unpack float": Build.of("unpack", **_FLOATS, SP_VECTOR=4),
    "linear half": Build.of("linear", **_HALVES),
}


class CompilerError(RuntimeError):
    """NVRTC is missing, or does not take a kernel."""


@dataclass(frozen=True)
class Usage:
    """Resources that one form of a kernel takes on one architecture.

    Attributes:
        registers: of a thread.
        spilled: bytes of local memory, for spills or anything else, of a thread.
        shared: bytes of shared memory of a block.
    """

    registers: int
    spilled: int
    shared: int

    def __str__(self) -> str:
        return f"{self.registers}/{self.spilled}/{self.shared}"


def why_unavailable() -> str | None:
    """None if NVRTC is there, otherwise the reason and the way out."""
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError, OSError) as error:
        return (
            f"NVRTC is missing ({str(error).strip().splitlines()[0]}): a CPU build of torch does "
            "not bring it; pip install cuda-bindings nvidia-cuda-nvrtc"
        )
    return None


def compiled(build: Build, architecture: int) -> tuple[Usage, bytes]:
    """Compile as CuPy would on a device of this architecture: what it takes, and the cubin.

    Raises:
        CompilerError: with NVRTC's messages.
    """
    from cuda.bindings import nvrtc

    with _program(build, f"-arch=sm_{architecture}", "--ptxas-options=-v") as (program, log):
        return usage(log), _bytes(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)


def ptx(build: Build, architecture: int = 90) -> str:
    """The kernel in NVIDIA's portable assembler; raises CompilerError as ``compiled`` does."""
    from cuda.bindings import nvrtc

    with _program(build, f"-arch=compute_{architecture}") as (program, _):
        return _bytes(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX).decode().rstrip("\0")


@contextmanager
def _program(build: Build, *options: str) -> Iterator[tuple[Any, str]]:
    """A compiled program and the compiler's log, which has to be free of warnings."""
    from cuda.bindings import nvrtc

    flags = [flag.encode() for flag in (*build.flags, *FIXED_OPTIONS, *OWN_OPTIONS, *options)]
    error, program = nvrtc.nvrtcCreateProgram(build.text.encode(), build.kernel.encode(), 0, [], [])
    assert not int(error)
    try:
        (failed,) = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
        log = _bytes(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).decode()
        if int(failed) or re.search(r"\bwarning\b", log):
            raise CompilerError(f"{build} with {options}:\n{log}")
        yield program, log
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _bytes(program: Any, size_of: Any, get: Any) -> bytes:
    _, size = size_of(program)
    # not bytes, as in NVIDIA's examples: Python has one object for all b" ", which an empty log of
    # one byte would overwrite
    buffer = bytearray(size)
    get(program, buffer)
    return bytes(buffer)


def usage(log: str) -> Usage:
    """Resources of a kernel by its log of ``ptxas -v``."""

    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found[1]) if found else 0

    local = number(r"(\d+) bytes stack frame") + number(r"(\d+) bytes lmem")
    spilled = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    registers = number(r"Used (\d+) registers")
    if not registers:
        raise CompilerError(f"no registers in the log:\n{log}")
    return Usage(registers, max(local, spilled), number(r"(\d+) bytes smem"))


def table(rows: Mapping[str, Sequence[Usage]], architectures: Sequence[int] = ARCHITECTURES) -> str:
    """Kernels by architecture: registers / bytes spilled / bytes of shared memory."""
    width = max(map(len, rows))
    heads = "".join(f"{f'sm_{a}':>12}" for a in architectures)
    lines = [f"{'registers/spilled/shared':{width}}{heads}"]
    for name, row in rows.items():
        lines.append(f"{name:{width}}" + "".join(f"{cell!s:>12}" for cell in row))
    return "\n".join(lines)


def main() -> None:
    """Print the table of all forms."""
    reason = why_unavailable()
    if reason:
        sys.exit(reason)
    forms = {name: build for name, (build, _) in BUDGET.items()} | MORE
    rows = {
        name: [compiled(build, architecture)[0] for architecture in ARCHITECTURES]
        for name, build in forms.items()
    }
    print(table(rows))


if __name__ == "__main__":
    main()
