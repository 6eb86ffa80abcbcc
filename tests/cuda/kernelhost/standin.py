"""A stand-in for CuPy: checks a launch against the kernel's signature and runs it on the CPU."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch import Tensor

from kernelhost.building import HostError
from kernelhost.running import run
from spikeport.cuda import launch
from spikeport.cuda.signature import Parameter, signature_of
from spikeport.cuda.source import Build

NUMBERS = {
    "int": numpy.int32,
    "i64": numpy.int64,
    "u64": numpy.uint64,
    "float": numpy.float32,
    "double": numpy.float64,
}
LIMITS = (2**31 - 1, 65535, 65535)  # blocks of a grid
STREAM = 4242


class StandIn:
    """What the launcher uses of CuPy.

    Attributes:
        launches: (kernel, grid) of each so far.
        bytes: of the arrays of each launch; twice where one is read and written.
        compiled: modules compiled so far.
    """

    int32, int64, uint64 = numpy.int32, numpy.int64, numpy.uint64
    float32, float64 = numpy.float32, numpy.float64

    def __init__(self) -> None:
        self.launches: list[tuple[Build, tuple[int, ...]]] = []
        self.bytes: list[int] = []
        self.compiled = 0
        self.tensors: dict[int, Tensor] = {}  # by the address that was asked for
        self.stream: int | None = None
        self.device: torch.device | None = None
        self.cuda = SimpleNamespace(
            Stream=SimpleNamespace(from_external=self._from_external),
            runtime=SimpleNamespace(getDeviceCount=lambda: 1),
        )

    @contextmanager
    def _from_external(self, stream: Any) -> Iterator[None]:
        version, self.stream = stream.__cuda_stream__()
        assert version == 0
        try:
            yield
        finally:
            self.stream = None

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> "Module":  # noqa: N802
        """See ``cupy.RawModule``."""
        self.compiled += 1
        return Module(self, code, options)


class Module:
    """See ``cupy.RawModule``."""

    def __init__(self, cupy: StandIn, code: str, options: tuple[str, ...]) -> None:
        if "#include" in code:
            raise HostError("CuPy's cache does not notice a change in an included file")
        if "--fmad=false" not in options or not isinstance(options, tuple):
            raise HostError(f"options {options}: expected a tuple with --fmad=false")
        self.cupy, self.code = cupy, code
        pairs = [re.fullmatch(r"-D(\w+)=(.+)", flag) for flag in options]
        self.defines = tuple((pair[1], pair[2]) for pair in pairs if pair)

    def get_function(self, name: str) -> "Function":
        """See ``cupy.RawModule``."""
        return Function(self, Build(name, self.defines))


class Function:
    """See ``cupy.RawKernel``."""

    def __init__(self, module: Module, build: Build) -> None:
        self.module, self.build = module, build

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple) -> None:
        cupy, build = self.module.cupy, self.build
        if cupy.stream != STREAM or cupy.device is None:
            raise HostError(f"{build.kernel}: not on torch's current stream and device")
        self._check_grid(grid, block)
        parameters = signature_of(build.kernel)
        if len(args) != len(parameters):
            raise HostError(f"{build.kernel}: {len(args)} arguments; expected {len(parameters)}")
        values = [self._value(*pair) for pair in zip(parameters, args, strict=True)]
        self._check_shapes(parameters, values)
        cupy.launches.append((build, grid))
        cupy.bytes.append(_moved(parameters, values))
        run(build, grid, block[0], values, self.module.code, seed=len(cupy.launches))

    def _check_grid(self, grid: Sequence[int], block: Sequence[int]) -> None:
        sizes = [size for size in (*grid, *block) if type(size) is not int or size < 1]
        too_many = [n for n, most in zip(grid, LIMITS, strict=False) if n > most]
        if sizes or too_many or len(grid) > 3 or block != (launch.THREADS,):
            raise HostError(f"{self.build.kernel}: grid {grid} of blocks {block}")

    def _value(self, parameter: Parameter, given: Any) -> Any:
        where = f"{self.build.kernel}: '{parameter.name}'"
        if parameter.role == "scalar":
            expected = NUMBERS[parameter.ctype]
            if type(given) is not expected:
                raise HostError(f"{where} is {type(given).__name__}; expected {expected.__name__}")
            return given.item()
        if given is None:
            if not parameter.optional:
                raise HostError(f"{where} is None")
            return None
        if type(given) is not int or given not in self.module.cupy.tensors:
            raise HostError(f"{where} is {given!r}; expected the address of a tensor")
        tensor = self.module.cupy.tensors[given]
        expected = parameter.dtype(self.build)
        if tensor.dtype != expected:
            raise HostError(f"{where} is {tensor.dtype}; expected {expected}")
        if not tensor.is_contiguous():
            raise HostError(f"{where} has strides {tensor.stride()}; a kernel ignores them")
        if tensor.device != self.module.cupy.device:
            raise HostError(f"{where} is on {tensor.device}, not {self.module.cupy.device}")
        return tensor

    def _check_shapes(self, parameters: Sequence[Parameter], values: Sequence[Any]) -> None:
        sizes = {p.name: v for p, v in zip(parameters, values, strict=True) if p.role == "scalar"}
        for parameter, value in zip(parameters, values, strict=True):
            if parameter.role == "scalar" or value is None:
                continue
            expected = [sizes.get(name, name) for name in parameter.shape]
            found = list(value.shape)
            for name, size in zip(parameter.shape, found, strict=False):
                sizes.setdefault(name, size)
            if found != [sizes.get(name) for name in parameter.shape]:
                raise HostError(
                    f"{self.build.kernel}: '{parameter.name}' is {found}; expected {expected}"
                )


def _moved(parameters: Sequence[Parameter], values: Sequence[Any]) -> int:
    """Bytes that a launch moves at least."""
    times = {"in": 1, "out": 1, "inout": 2}
    return sum(
        times[parameter.role] * value.numel() * value.element_size()
        for parameter, value in zip(parameters, values, strict=True)
        if parameter.role != "scalar" and value is not None
    )


def stand_in(patch: Any) -> StandIn:
    """Put a stand-in in the place of ``cupy``; then tensors on the CPU may be launched on.

    Args:
        patch: pytest's ``monkeypatch``.
    """
    cupy = StandIn()
    own_address = Tensor.data_ptr

    def data_ptr(tensor: Tensor) -> int:
        cupy.tensors[own_address(tensor)] = tensor
        return own_address(tensor)

    @contextmanager
    def device(wanted: torch.device) -> Iterator[None]:
        cupy.device = wanted
        yield
        cupy.device = None

    patch.setitem(sys.modules, "cupy", cupy)
    patch.setattr(Tensor, "data_ptr", data_ptr)
    patch.setattr(torch.cuda, "device", device)
    patch.setattr(torch.cuda, "current_stream", lambda d: SimpleNamespace(cuda_stream=STREAM))
    patch.setattr(launch, "DEVICE", "cpu")
    return cupy
