"""Runs a kernel over a grid on the CPU, with arrays that end where unreadable memory begins."""

import ctypes
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelhost.building import HostError, library, runtime
from spikeport.cuda.signature import Parameter, signature_of
from spikeport.cuda.source import Build

# orders of threads and blocks (see runtime.cpp), where an array touches the unreadable page, and
# what fills an output before the kernel writes it
RUNS = ((2, True, 0xA5), (1, False, 0x5A))
SCALARS = {"int": ctypes.c_int, "i64": ctypes.c_int64, "u64": ctypes.c_uint64}
SCALARS |= {"float": ctypes.c_float, "double": ctypes.c_double}


@dataclass(frozen=True)
class Guarded:
    """A copy of a tensor between unreadable pages."""

    address: int
    bytes: int
    name: str

    def missed_by(self, address: int) -> int:
        """Bytes between an address and this array."""
        return max(self.address - address, address - (self.address + self.bytes) + 1, 0)


def run(
    build: Build,
    grid: Sequence[int],
    threads: int,
    values: Sequence[Any],
    text: str | None = None,
    seed: int = 0,
) -> None:
    """Run a kernel twice, in two orders, and write to the tensors what both runs agree on.

    Args:
        build: which kernel.
        grid: blocks along x, y, z.
        threads: of a block.
        values: the arguments: tensors or None, and numbers.
        text: source to run instead of the kernel's own.
        seed: of the shuffled order.

    Raises:
        HostError: an access outside of an array, an output that was not written, threads that wait
            for ever, results that depend on the order, undefined behaviour.
    """
    parameters = signature_of(build.kernel)
    results = [_once(build, grid, threads, values, text or build.text, seed, *r) for r in RUNS]
    for parameter, value, first, second in zip(parameters, values, *results, strict=True):
        if first is None:
            continue
        differ = int((first != second).sum()) // value.element_size() + int((first != second).any())
        if differ:
            raise HostError(
                f"{build.kernel}: about {differ} of {value.numel()} elements of "
                f"'{parameter.name}' were never written, or depend on the order of the threads"
            )
        value.copy_(first.view(value.dtype).view(value.shape))


def _once(
    build: Build,
    grid: Sequence[int],
    threads: int,
    values: Sequence[Any],
    text: str,
    seed: int,
    schedule: int,
    at_end: bool,
    poison: int,
) -> list[Tensor | None]:
    """The bytes of each array that the kernel may write, after one run."""
    parameters = signature_of(build.kernel)
    with ExitStack() as stack:
        arrays: list[Guarded | None] = []
        for parameter, value in zip(parameters, values, strict=True):
            here = parameter.role != "scalar" and value is not None
            arrays.append(stack.enter_context(_guarded(parameter, value, at_end)) if here else None)
        for parameter, array in zip(parameters, arrays, strict=True):
            if array and parameter.role == "out":
                ctypes.memset(array.address, poison, array.bytes)
        numbers = [_number(*given) for given in zip(parameters, values, arrays, strict=True)]
        run_blocks(build, grid, threads, numbers, text, arrays, (schedule, seed))
        return [
            _bytes_at(array) if array and parameter.role != "in" else None
            for parameter, array in zip(parameters, arrays, strict=True)
        ]


def run_blocks(
    build: Build,
    grid: Sequence[int],
    threads: int,
    numbers: Sequence[Any],
    text: str,
    arrays: Sequence[Guarded | None] = (),
    order: tuple[int, int] = (0, 0),
    blocks: tuple[int, int] | None = None,
) -> None:
    """Run some blocks of a grid, with arguments as ctypes objects.

    Args:
        build, grid, threads, text: as for ``run``.
        numbers: the arguments.
        arrays: what addresses are compared with where one is out of bounds.
        order: schedule (see runtime.cpp) and seed.
        blocks: [from, until) in the grid's linear order; all by default.
    """
    whole = (*grid, 1, 1)[:3]
    kernel = library(build, text)
    pointers = (ctypes.c_void_p * len(numbers))(*(ctypes.addressof(n) for n in numbers))
    message = ctypes.create_string_buffer(256)
    failed = runtime().host_run(
        ctypes.cast(kernel.host_call, ctypes.c_void_p),
        pointers,
        (ctypes.c_uint * 3)(*whole),
        threads,
        *(blocks or (0, math.prod(whole))),
        *order,
        kernel.host_shared(),
        kernel.host_shared_size(),
        message,
        len(message),
    )
    if failed:
        raise HostError(f"{build.kernel}, {_explained(message.value.decode(), arrays)}")


def _explained(message: str, arrays: Sequence[Guarded | None]) -> str:
    where, found, address = message.partition("memory at ")
    if not found:
        return message
    place = int(address, 16) if address.startswith("0x") else 0
    present = [array for array in arrays if array is not None]
    nearest = min(present, key=lambda array: array.missed_by(place), default=None)
    if nearest is None or nearest.missed_by(place) > 2**20:
        return f"{where}touches {address}, in no array"
    side = "before" if place < nearest.address else "past the end of"
    return f"{where}touches memory {nearest.missed_by(place)} bytes {side} '{nearest.name}'"


def _number(parameter: Parameter, value: Any, array: Guarded | None) -> Any:
    if parameter.role == "scalar":
        whole = parameter.ctype not in ("float", "double")
        return SCALARS[parameter.ctype](int(value) if whole else value)
    return ctypes.c_void_p(array.address if array else None)


@contextmanager
def _guarded(parameter: Parameter, value: Tensor, at_end: bool) -> Iterator[Guarded]:
    size = value.numel() * value.element_size()
    align = next(align for align in (16, 8, 4, 2, 1) if size % align == 0)
    begin = ctypes.c_void_p()
    base = runtime().host_guarded(size, align, at_end, ctypes.byref(begin))
    try:
        ctypes.memmove(begin.value, value.detach().contiguous().data_ptr(), size)
        yield Guarded(begin.value or 0, size, parameter.name)
    finally:
        runtime().host_release(base, size)


def _bytes_at(array: Guarded) -> Tensor:
    return torch.frombuffer(
        bytearray(ctypes.string_at(array.address, array.bytes)) or bytearray(1), dtype=torch.uint8
    )[: array.bytes]
