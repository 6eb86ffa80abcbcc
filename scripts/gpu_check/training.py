"""A step of fine-tuning on the GPU: its gradients against a CPU's, and its seconds."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spikeport.scripts.bench.device import CPU, quickest
from spikeport.scripts.bench.training_step import training_step
from spikeport.scripts.gpu_check.deadline import Deadline

MODEL, BATCH, TIMESTEPS = "cifar10/resnet20", 64, 4
FEW = 4  # images of which the gradients are compared
COMPILING = 15.0  # seconds that have to be left for torch.compile


def measure(device: torch.device, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """``gradients_off_by``, relative, over all parameters, and ``seconds_of_step`` by way."""
    own, theirs = (training_step(MODEL, FEW, TIMESTEPS, "bptt", False, d)() for d in (device, CPU))
    found: dict[str, Any] = {"model": MODEL, "batch": BATCH, "timesteps": TIMESTEPS}
    yield found | {"gradients_off_by": off_by(own, theirs)}
    seconds: dict[str, float] = {}
    for way, compiled in (("plain", False), ("compiled", True)):
        if deadline.allows(COMPILING if compiled else 0.0):
            step = training_step(MODEL, BATCH, TIMESTEPS, "bptt", compiled, device)
            seconds[way] = quickest(step, device)
            yield {"seconds_of_step": seconds}


def off_by(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Norm of the difference over the norm, of all tensors together."""
    if found.keys() != expected.keys():
        raise ValueError(f"gradients of {sorted(found.keys() ^ expected.keys())} on one side only")
    pairs = [(found[name].cpu().double(), expected[name].double()) for name in expected]
    difference = sum(float((a - b).square().sum()) for a, b in pairs)
    return float((difference / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5)
