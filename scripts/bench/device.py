"""The device that a benchmark runs on: which, how fast it copies, and when it is done."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from spikeport.convert import ConversionError
from spikeport.cuda import launch
from spikeport.cuda.available import why_unavailable

DEVICES = ("cpu", "cuda")
CPU = torch.device("cpu")
COPY_BYTES = 256 * 2**20  # far beyond any cache
ROUNDS = 5
CALLS = 20  # of a round on a GPU: each is prepared while the one before it runs

Result = TypeVar("Result")


def device_named(name: str) -> torch.device:
    """The device of a name in DEVICES.

    Raises:
        ConversionError: it is "cuda" and the kernels cannot run here.
    """
    if name == "cpu":
        return CPU
    reason = why_unavailable()
    if reason:
        raise ConversionError(f"--device cuda: {reason}")
    device = torch.device(launch.DEVICE)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConversionError(
            f"--device cuda: torch {torch.__version__} sees no GPU: install a CUDA build of it"
        )
    return device


def gpu(device: torch.device) -> str | None:
    """The name of the GPU; None for the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def timed(call: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Seconds until the device is done with a call, and what the call returned."""
    _synchronize(device)
    start = time.perf_counter()
    result = call()
    _synchronize(device)
    return time.perf_counter() - start, result


def quickest(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, the best of a few rounds; one before them compiles and allocates."""
    calls = CALLS if device.type == "cuda" else 1

    def round_() -> None:
        for _ in range(calls):
            call()

    call()
    return min(timed(round_, device)[0] for _ in range(ROUNDS)) / calls


def copy_bytes_per_second(device: torch.device) -> float:
    """Bytes read plus written per second by a copy that no cache holds."""
    source = torch.ones(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / quickest(lambda: target.copy_(source), device)


def _synchronize(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
