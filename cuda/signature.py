"""The parameters of a kernel, read from its source: the C types and the comments behind them.

A parameter stands on a line of its own. A pointer's comment begins with ``in``, ``out`` or
``inout`` and its shape, ``in [T, N]``, perhaps followed by ``or null``; a name in a shape is that
of a scalar parameter, whose value it then is, or a length that the arrays have in common.
"""

import re
from dataclasses import dataclass
from functools import cache

import torch

from spikeport.cuda.source import Build, text_of

# C type behind a pointer: the dtype of the tensor
ELEMENTS = {
    "float": torch.float32,
    "double": torch.float64,
    "half_t": torch.float16,
    "bfloat_t": torch.bfloat16,
    "u32": torch.int32,
    "i8": torch.int8,
    "u64": torch.int64,
}
MACROS = {"in_t": "SP_IN", "out_t": "SP_OUT", "state_t": "SP_STATE"}

_HEAD = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\((\w+), 1\) )?(\w+)\(\n')
_PARAMETER = re.compile(r"(const )?(\w+) (?:(\*)__restrict__ )?(\w+),?\s*// (.+)")
_ARRAY = re.compile(r"(in|out|inout) \[([\w, ]*)\]( or null)?")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Attributes:
        name: in the source.
        ctype: C type of the scalar, or of an array's elements.
        role: "in", "out", "inout" (arrays) or "scalar".
        shape: names of an array's dimensions.
        optional: the array may be missing.
    """

    name: str
    ctype: str
    role: str
    shape: tuple[str, ...] = ()
    optional: bool = False

    def dtype(self, build: Build) -> torch.dtype:
        """The dtype of an array in one compiled form of the kernel."""
        ctype = dict(build.defines)[MACROS[self.ctype]] if self.ctype in MACROS else self.ctype
        return ELEMENTS[ctype]


@cache
def signature_of(kernel: str) -> tuple[Parameter, ...]:
    """The parameters of a kernel, in order; raises ValueError where a line is not understood."""
    text = text_of(kernel)
    heads = [head for head in _HEAD.finditer(text) if head[2] == kernel]
    if len(heads) != 1:
        raise ValueError(f"{kernel}.cu has {len(heads)} kernels named {kernel}; expected one")
    lines = text[heads[0].end() : text.index("\n) {", heads[0].end())].splitlines()
    return tuple(_parameter(kernel, line.strip()) for line in lines)


def _parameter(kernel: str, line: str) -> Parameter:
    match = _PARAMETER.fullmatch(line)
    if match is None:
        raise ValueError(f"{kernel}.cu: '{line}' is not '<type> <name>,  // <meaning>'")
    const, ctype, pointer, name, comment = match.groups()
    array = _ARRAY.match(comment)
    if bool(pointer) != bool(array) or bool(const) != bool(array and array[1] == "in"):
        raise ValueError(f"{kernel}.cu: the comment of '{name}' does not fit its type")
    if array is None:
        return Parameter(name, ctype, "scalar")
    shape = tuple(part.strip() for part in array[2].split(","))
    return Parameter(name, ctype, array[1], shape, array[3] is not None)
