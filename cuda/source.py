"""The text of a kernel, as it is handed to a compiler."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KERNELS = Path(__file__).parent / "kernels"
FIXED_OPTIONS = ("--fmad=false",)  # one rounding for each operation, as torch's operations do

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


@dataclass(frozen=True)
class Build:
    """One compiled form of a kernel.

    Attributes:
        kernel: name of the function, and of its file without ``.cu``.
        defines: (name, value) of the macros that choose the form.
    """

    kernel: str
    defines: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, kernel: str, **defines: object) -> "Build":
        """``Build.of("unpack", SP_OUT="float", SP_VECTOR=4)``."""
        return cls(kernel, tuple((name, str(value)) for name, value in defines.items()))

    @property
    def flags(self) -> tuple[str, ...]:
        """The macros for a compiler's command line."""
        return tuple(f"-D{name}={value}" for name, value in self.defines)

    @property
    def text(self) -> str:
        """CUDA C; see ``text_of``."""
        return text_of(self.kernel)

    def __str__(self) -> str:
        return " ".join([self.kernel, *(f"{n}={v}" for n, v in self.defines)])


@cache
def text_of(kernel: str) -> str:
    """A kernel's source with the headers pasted in.

    CuPy's cache of compiled kernels knows the text that it is given and not the headers that the
    text includes: a changed header would leave the old kernel in place.
    """
    pasted: set[str] = set()

    def paste(match: re.Match[str]) -> str:
        name = match[1]
        if name in pasted:
            return ""
        pasted.add(name)
        return _INCLUDE.sub(paste, (KERNELS / name).read_text("utf-8"))

    return _INCLUDE.sub(paste, (KERNELS / f"{kernel}.cu").read_text("utf-8"))
