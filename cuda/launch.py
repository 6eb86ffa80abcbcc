"""Launches a kernel by the names of its parameters, with CuPy, on torch's device and stream.

Everything is allocated by torch. A launch is on torch's current stream, so neither side has to
wait for the other and memory may be freed as soon as the launch has returned.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spikeport.cuda.signature import Parameter, signature_of
from spikeport.cuda.source import FIXED_OPTIONS, Build

THREADS = 128  # of a block, for every kernel
DEVICE = "cuda"  # type of the tensors that a launch takes
_MOST_BLOCKS = (2**20, 65535, 65535)  # kernels go round as often as it takes
_RANGES = {"int": 2**31, "i64": 2**63, "u64": 2**64}


class LaunchError(TypeError):
    """Arguments that a kernel does not take: a mistake in this package."""


def launch(build: Build, items: Sequence[int], **arguments: Tensor | int | float | None) -> None:
    """Run a kernel.

    Args:
        build: which one.
        items: what there is to do along each side of the grid, up to three: threads along the
            first, blocks along the others. Nothing is launched where one of them is 0.
        arguments: by the names of the kernel's parameters; tensors are passed as they are.

    Raises:
        LaunchError: names, dtypes, shapes, devices or strides that do not fit.
    """
    parameters = signature_of(build.kernel)
    device = _check(build, parameters, arguments)
    if 0 in items:
        return
    blocks = (-(-items[0] // THREADS), *items[1:])
    grid = tuple(map(min, blocks, _MOST_BLOCKS[: len(blocks)]))
    _launch_on(device, build, grid, [_argument(p, arguments[p.name]) for p in parameters])


def _launch_on(device: torch.device, build: Build, grid: tuple[int, ...], args: list[Any]) -> None:
    import cupy

    with torch.cuda.device(device):
        stream = torch.cuda.current_stream(device)
        with cupy.cuda.Stream.from_external(_External(stream)):
            _function(build, device.index)(grid, (THREADS,), tuple(args))


class _External:
    """A stream of torch in the form that CuPy asks for, also from a torch without that method."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._stream.cuda_stream


@cache
def _function(build: Build, device: int) -> Any:
    """The compiled kernel; CuPy compiles for the current device, which is this one."""
    import cupy

    module = cupy.RawModule(code=build.text, options=(*FIXED_OPTIONS, *build.flags))
    return module.get_function(build.kernel)


def _argument(parameter: Parameter, value: Any) -> Any:
    """An argument as CuPy is given it: it takes the width of a number from its type."""
    import cupy

    if parameter.role != "scalar":
        return None if value is None else value.data_ptr()
    types = {"int": cupy.int32, "i64": cupy.int64, "u64": cupy.uint64}
    types |= {"float": cupy.float32, "double": cupy.float64}
    return types[parameter.ctype](value)


def _check(
    build: Build, parameters: Sequence[Parameter], arguments: dict[str, Any]
) -> torch.device:
    """The device of the tensors, if all fits."""
    names = [parameter.name for parameter in parameters]
    if sorted(names) != sorted(arguments):
        wrong = sorted(set(names) ^ set(arguments))
        raise LaunchError(f"{build.kernel}: arguments that are missing or unknown: {wrong}")
    sizes = {p.name: arguments[p.name] for p in parameters if p.role == "scalar"}
    devices = set()
    for parameter in parameters:
        if parameter.role == "scalar":
            _check_scalar(build, parameter, sizes[parameter.name])
    for parameter in parameters:
        value = arguments[parameter.name]
        if parameter.role != "scalar" and value is not None:
            _check_array(build, parameter, value, sizes)
            devices.add(value.device)
        elif value is None and not parameter.optional:
            raise LaunchError(f"{build.kernel}: '{parameter.name}' may not be None")
    if len(devices) != 1 or next(iter(devices)).type != DEVICE:
        raise LaunchError(f"{build.kernel}: tensors on {devices}; expected one {DEVICE} device")
    return devices.pop()


def _check_scalar(build: Build, parameter: Parameter, value: Any) -> None:
    top = _RANGES.get(parameter.ctype)
    fits = isinstance(value, (int, float)) if top is None else type(value) in (int, bool)
    if not fits or (top is not None and not 0 <= value < top):
        raise LaunchError(
            f"{build.kernel}: '{parameter.name}' is {value!r}; expected {parameter.ctype} >= 0"
        )


def _check_array(build: Build, parameter: Parameter, value: Any, sizes: dict[str, int]) -> None:
    expected = parameter.dtype(build)
    shape: Any = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
    wanted: list[Any] = [sizes.get(name, name) for name in parameter.shape]
    fits = isinstance(value, Tensor) and value.dtype == expected and len(shape) == len(wanted)
    if fits:
        wanted = [sizes.setdefault(n, s) for n, s in zip(parameter.shape, shape, strict=True)]
    if not fits or shape != wanted or not value.is_contiguous():
        kind = f"{value.dtype} with strides {value.stride()}" if isinstance(value, Tensor) else ""
        raise LaunchError(
            f"{build.kernel}: '{parameter.name}' is {shape} {kind}; expected contiguous "
            f"{expected} {wanted}"
        )
