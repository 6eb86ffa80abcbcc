"""The neuron kernels by themselves: steps and bytes per second, against torch and SpikingJelly.

Part of ``spikeport bench --device cuda``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikeport.convert.neurons import Neuron, NeuronLayer
from spikeport.convert.simulation.gpu.layers import FiringLayer
from spikeport.cpu.compiler import BuildError, compiler
from spikeport.cuda.scan import scan
from spikeport.scripts.bench.device import quickest
from spikeport.scripts.peers import Peer
from spikeport.scripts.peers.peer import Layer

SHAPE = (64, 128, 32, 32)  # [B, C, H, W]: 1 GiB of float currents over TIMESTEPS
TIMESTEPS = 32
IF, SIGNED = Neuron(1, 0), Neuron(1, 1)
Form = tuple[str, Neuron, str]  # name, neuron, what the kernel writes
FORMS: tuple[Form, ...] = (
    ("IF to bits", IF, "packed"),
    ("signed to bits", SIGNED, "packed"),
    ("IF to values", IF, "values"),
)
DTYPES = (torch.float32, torch.float16)


@torch.no_grad()
def measure(
    device: torch.device, copy_bytes_per_second: float, peers: Mapping[str, Peer]
) -> list[dict[str, Any]]:
    """Time each form of the scan kernel, and others on the same currents.

    Args:
        device: of the kernels.
        copy_bytes_per_second: of the device, to compare with.
        peers: other tools by name; SpikingJelly's neurons are timed if it is among them.

    Returns:
        A row for each form and dtype: ``kernel``, ``dtype``, ``seconds``, ``steps_per_second``
        (neurons times timesteps), ``bytes_per_step`` (state of the chunk included),
        ``bytes_per_second``, ``of_copy`` (that over the copy's) and ``others``: the seconds of
        each other simulator by name.
    """
    rows = []
    for dtype in DTYPES:
        current = random_current(dtype, device)
        others = {model: _others(model, current, peers) for model in (IF, SIGNED)}
        for form in FORMS:
            row = scan_row(form, current, copy_bytes_per_second)
            rows.append(row | {"others": others[form[1]]})
    return rows


@torch.no_grad()
def scan_row(form: Form, current: Tensor, copy_bytes_per_second: float) -> dict[str, Any]:
    """The speed of one form of the scan kernel; see ``measure``, without the others."""
    name, model, emit = form
    arguments = _arguments(model, current, emit)
    moved = nbytes(*arguments, *scan(*arguments))
    seconds = quickest(partial(scan, *arguments), current.device)
    return {
        "kernel": name,
        "dtype": str(current.dtype).removeprefix("torch."),
        "seconds": seconds,
        "steps_per_second": current.numel() / seconds,
        "bytes_per_step": moved / current.numel(),
        "bytes_per_second": moved / seconds,
        "of_copy": moved / seconds / copy_bytes_per_second,
    }


def random_current(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Currents of TIMESTEPS, with thresholds of 1, [T, B, C, H, W]."""
    torch.manual_seed(0)
    return torch.empty(TIMESTEPS, *SHAPE, dtype=dtype, device=device).normal_(0.2, 0.5)


def _arguments(model: Neuron, current: Tensor, emit: str) -> list[Any]:
    """Arguments of ``scan`` for a first chunk; a running total only where the neuron needs one."""
    layer = FiringLayer(_neuron(model, current), current)
    total = layer.total if layer.rules.nonnegative else None
    return [
        *(layer.layout.rows(current), None, layer.threshold, layer.value),
        *(layer.lowest, layer.highest, layer.v, total, layer.rules.listed),
        *(len(current), layer.inner, 0, emit, False),
    ]


def _neuron(model: Neuron, current: Tensor) -> NeuronLayer:
    """Neurons with thresholds of 1, where the currents are; counting spikes in whole numbers."""
    neuron = NeuronLayer(model, current.shape[2])
    neuron.threshold.fill_(1.0)
    if model.potential_bits is None:
        neuron.v0.fill_(0.5)
    else:
        neuron.unit.data = neuron.spike_value.data = torch.ones(current.shape[2])
    return neuron.to(current)


def nbytes(*values: Any) -> int:
    """Bytes of all arrays that a launch reads or writes."""
    return sum(value.nbytes for value in values if isinstance(value, Tensor))


def _others(model: Neuron, current: Tensor, peers: Mapping[str, Peer]) -> dict[str, float]:
    """Seconds of every other simulator of these neurons."""
    neuron = _neuron(model, current)
    calls: dict[str, Callable[[], Any]] = {"torch eager": partial(neuron, current)}
    if _compiles():
        calls["torch.compile"] = partial(torch.compile(neuron), current)
    if model == IF and "spikingjelly" in peers:
        v0 = torch.full(SHAPE, 0.5, device=current.device)
        for mode in peers["spikingjelly"].modes:
            if mode.most_steps is None:
                calls[f"SpikingJelly {mode.name}"] = partial(_fire, mode.layer(), v0, current)
    return {name: quickest(call, current.device) for name, call in calls.items()}


def _fire(layer: Layer, v0: Tensor, current: Tensor) -> Tensor:
    layer.start(v0)
    return layer(current)


def _compiles() -> bool:
    """Whether there is the compiler that torch.compile needs."""
    try:
        return bool(compiler())
    except BuildError:
        return False
