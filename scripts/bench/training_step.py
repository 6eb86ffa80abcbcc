"""One step of fine-tuning, forward and backward."""

from collections.abc import Callable

import torch
from torch import Tensor

from spikeport.calibration import InitialPotential, MaxThreshold, calibrate
from spikeport.convert import KINDS, build
from spikeport.finetune.gradient.batch_norms import keep_norms
from spikeport.finetune.gradient.through_time import TimeLoop
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable
from spikeport.finetune.training.training import set_compiled
from spikeport.scripts.bench.device import CPU
from spikeport.zoo import load_model


def training_step(
    model: str,
    batch_size: int,
    timesteps: int,
    method: str,
    compiled: bool,
    device: torch.device = CPU,
) -> Callable[[], dict[str, Tensor]]:
    """A forward and a backward pass of a trainable network with binary neurons.

    Args:
        model: a CIFAR-10 model of the zoo.
        batch_size: random images of a step.
        timesteps: of a step.
        method: "bptt" or "quantized".
        compiled: the neurons by ``torch.compile``.
        device: of the network.

    Returns:
        What makes a step; it returns the gradient of each parameter by name.
    """
    torch.manual_seed(0)
    x = torch.randn(batch_size, 3, 32, 32)
    network = build(load_model(model), x, KINDS["if"])
    calibrate(network, [x], [MaxThreshold(), InitialPotential()], progress=False)
    network = make_trainable(network, Surrogate()).to(device)
    x = x.to(device, memory_format=torch.channels_last)
    keep_norms(network, [x], timesteps, "batch", method == "quantized")
    network.train()
    set_compiled(network, compiled)
    loop = TimeLoop(network, method == "quantized", compiled)

    def step() -> dict[str, Tensor]:
        network.zero_grad()
        loop(x, timesteps, frozenset(), None).answer.square().sum().backward()
        named = network.named_parameters()
        return {name: value.grad for name, value in named if value.grad is not None}

    return step
