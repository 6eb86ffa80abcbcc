"""Bytes per second of each kernel against a copy."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from spikeport.convert.neurons import Neuron
from spikeport.cuda.difference import emit_difference, running_mean
from spikeport.cuda.packed import avgpool, linear, unpack
from spikeport.scripts.bench import neurons
from spikeport.scripts.bench.device import copy_bytes_per_second, gpu, quickest
from spikeport.scripts.gpu_check.deadline import Deadline

FORMS: tuple[neurons.Form, ...] = (
    *neurons.FORMS,
    ("signed to values", neurons.SIGNED, "values"),
    ("leaky, four levels, to values", Neuron(4, 4, 0.9), "values"),
)
WHOLE: tuple[neurons.Form, ...] = (  # of integer networks, whose currents are float32
    ("16-bit IF to values", Neuron(1, 0, potential_bits=16), "values"),
    ("24-bit signed to values", Neuron(1, 1, potential_bits=24), "values"),
    ("24-bit four levels to values", Neuron(4, 4, potential_bits=24), "values"),
    ("32-bit signed to values", Neuron(1, 1, potential_bits=32), "values"),
)
DENSITY = 1 / 64  # of the bits that the sparse linear layer reads

Call = tuple[Callable[..., Any], tuple[Any, ...]]


@torch.no_grad()
def measure(device: torch.device, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """``gpu``, ``copy_bytes_per_second`` and ``rows``, one for each kernel, form and dtype."""
    copy = copy_bytes_per_second(device)
    yield {"gpu": gpu(device), "copy_bytes_per_second": copy}
    rows: list[dict[str, Any]] = []
    for dtype in neurons.DTYPES:
        current = neurons.random_current(dtype, device)
        for form in (*FORMS, *(WHOLE if dtype == torch.float32 else ())):
            if not deadline.allows(1.0):
                yield {"rows": rows, "short_of_time": True}
                return
            rows.append(neurons.scan_row(form, current, copy))
            rows[-1]["kernel"] = f"scan: {form[0]}"
        for name, (call, arguments) in others(current).items():
            rows.append(_row(name, call, arguments, current, copy))
        yield {"rows": rows}


def others(current: Tensor) -> dict[str, Call]:
    """The other kernels with arguments, by name, as large as the scan's."""
    steps, batch, channels, height, width = current.shape
    values, device, dtype = current[0].numel(), current.device, current.dtype
    flat = current.flatten(1)
    words = torch.randint(-(2**31), 2**31 - 1, (steps, -(-values // 32)), device=device)
    bits, one = words.int(), torch.ones(channels, device=device)
    sums = torch.zeros(values, device=device)
    inner, inputs = height * width, channels * height * width // 4
    few = (torch.rand(steps, batch * inputs // 32, 32, device=device) < DENSITY).long()
    sparse = (few << torch.arange(32, device=device)).sum(-1).int()
    weight = torch.ones(inputs, 256, device=device)
    maps, window = [batch, channels, height, width], [2, 2, 2, 2, 0, 0]
    return {
        "unpack": (unpack, (bits, one, values, inner, 1, False, dtype)),
        "avgpool 2×2": (avgpool, (bits, one, maps, window, True, False, 1, False, dtype)),
        f"linear, density {DENSITY:g}": (
            linear,
            (sparse, weight, None, batch, 1, False, dtype),
        ),
        "running mean": (running_mean, (flat, sums, 0, True)),
        "emit difference": (emit_difference, (flat, sums, 0, True)),
    }


def _row(
    name: str, call: Callable[..., Any], arguments: tuple[Any, ...], current: Tensor, copy: float
) -> dict[str, Any]:
    """A row like that of ``neurons.scan_row``; bytes are those of all tensors, each once."""
    made = call(*arguments)
    made = made if isinstance(made, tuple) else (made,)
    moved = neurons.nbytes(*arguments, *made)
    seconds = quickest(lambda: call(*arguments), current.device)
    return {
        "kernel": name,
        "dtype": str(current.dtype).removeprefix("torch."),
        "seconds": seconds,
        "bytes": moved,
        "bytes_per_second": moved / seconds,
        "of_copy": moved / seconds / copy,
    }
