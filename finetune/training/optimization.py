"""The optimizer, its learning rate over the steps, and the average of the weights."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from spikeport.convert import ConversionError
from spikeport.finetune.gradient.batch_norms import NormedLayer
from spikeport.finetune.neuron.trainable import TrainableNeuron

ALGORITHMS = ("adamw", "sgd")


@dataclass(frozen=True)
class Optimization:
    """The way in which parameters follow their gradients.

    Attributes:
        algorithm: "adamw", or "sgd" with Nesterov momentum 0.9.
        rate: learning rate of weights and biases at its peak, > 0.
        neuron_rate: learning rate of logarithms of thresholds, of potentials in thresholds, of
            leaks, and of the corrections of a timestep's current, which count in thresholds rather
            than in weights.
        weight_decay: of weights of two dimensions and more, >= 0; others have none.
        warm_up: share of the steps in which the rate rises from 0, in [0, 1); then it falls to 0
            with a cosine.
        clip: largest norm of all gradients together; None: any.
        average: decay of the exponential moving average of the parameters, in [0, 1), which is
            evaluated and returned; at first it is lower, (1 + n)/(10 + n) after n steps. None: the
            parameters themselves.
    """

    algorithm: str = "adamw"
    rate: float = 1e-3
    neuron_rate: float = 1e-2
    weight_decay: float = 1e-4
    warm_up: float = 0.1
    clip: float | None = 1.0
    average: float | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConversionError(
                f"Optimization.algorithm is {self.algorithm!r}; expected one of {ALGORITHMS}"
            )
        good = {
            "rate": 0 < self.rate < math.inf,
            "neuron_rate": 0 <= self.neuron_rate < math.inf,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "warm_up": 0 <= self.warm_up < 1,
            "clip": self.clip is None or self.clip > 0,
            "average": self.average is None or 0 <= self.average < 1,
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, fine in good.items() if not fine]
        if wrong:
            raise ConversionError(f"Optimization({', '.join(wrong)}) is out of range; see its help")

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a trainable network's parameters that want gradients."""
        groups = _groups(network)
        parameters = [
            {"params": groups["weights"], "lr": self.rate, "weight_decay": self.weight_decay},
            {"params": groups["biases"], "lr": self.rate, "weight_decay": 0.0},
            {"params": groups["neurons"], "lr": self.neuron_rate, "weight_decay": 0.0},
        ]
        if self.algorithm == "sgd":
            return torch.optim.SGD(parameters, self.rate, momentum=0.9, nesterov=True)
        return torch.optim.AdamW(parameters, self.rate)

    def schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
        """Learning rates over ``steps`` steps."""
        rising = round(self.warm_up * steps)
        return LambdaLR(optimizer, partial(_share_of_peak, rising=rising, steps=steps))


def _share_of_peak(step: int, rising: int, steps: int) -> float:
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _groups(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    found: dict[str, list[nn.Parameter]] = {"weights": [], "biases": [], "neurons": []}
    seen: set[int] = set()  # weights may be those of two layers, as of an embedding and a head
    for module in network.modules():
        for value in module.parameters(recurse=False):
            if value.requires_grad and value.numel() and id(value) not in seen:
                seen.add(id(value))
                of_neuron = isinstance(module, TrainableNeuron)
                kind = "neurons" if of_neuron else "biases" if value.ndim < 2 else "weights"
                found[kind].append(value)
    return found


class Average:
    """The exponential moving average of a network's parameters.

    Args:
        network: its trained parameters now are the first average, and the running statistics of
            its batch norms; others, such as a leak that follows a schedule, have none.
        decay: in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = {name: value.detach().clone() for name, value in _moving(network)}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the parameters after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in _moving(network):
            self.values[name].lerp_(value, 1 - decay)


def _moving(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in network.named_modules():
        own = module.named_parameters(path, recurse=False)
        yield from ((name, value) for name, value in own if value.requires_grad)
        if isinstance(module, NormedLayer):
            yield from module.named_buffers(path, recurse=False)
