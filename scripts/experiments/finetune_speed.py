"""Seconds for one training step of the CIFAR-10 networks, by method, uncompiled and compiled.

    python -m spikeport.scripts.experiments.finetune_speed

prints a Markdown table. The ways take turns, so that a busy machine slows all of them; the image
batch is random, batch norms are alive, and the median is given.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import product

import torch

from spikeport.calibration import InitialPotential, MaxThreshold, calibrate
from spikeport.convert import KINDS, build
from spikeport.finetune.gradient.batch_norms import keep_norms
from spikeport.finetune.gradient.through_time import TimeLoop
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable
from spikeport.finetune.training.training import set_compiled
from spikeport.scripts.bench.turns import medians
from spikeport.scripts.options import positive
from spikeport.zoo import load_model

MODELS = ("cifar10/resnet20", "cifar10/vgg16-thin")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-T", "--timesteps", type=positive, default=4)
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N")
    parser.add_argument("--repeats", type=positive, default=7)
    options = parser.parse_args(arguments)
    ways = list(product(("bptt", "quantized"), (False, True)))
    print("| seconds a step | " + " | ".join(f"{m}{', compiled' * c}" for m, c in ways) + " |")
    print("|---|" + "---|" * len(ways))
    for model in MODELS:
        steps = [step(model, options.batch_size, options.timesteps, *way) for way in ways]
        cells = " | ".join(f"{seconds:.3f}" for seconds in medians(steps, options.repeats))
        print(f"| {model} | {cells} |", flush=True)


def step(
    model: str, batch_size: int, timesteps: int, method: str, compiled: bool
) -> Callable[[], None]:
    """A forward and a backward pass of a trainable network with binary neurons."""
    torch.manual_seed(0)
    x = torch.randn(batch_size, 3, 32, 32)
    network = build(load_model(model), x, KINDS["if"])
    calibrate(network, [x], [MaxThreshold(), InitialPotential()], progress=False)
    network = make_trainable(network, Surrogate())
    x = x.to(memory_format=torch.channels_last)
    keep_norms(network, [x], timesteps, "batch", method == "quantized")
    network.train()
    set_compiled(network, compiled)
    loop = TimeLoop(network, method == "quantized", compiled)
    return lambda: loop(x, timesteps, frozenset(), None).answer.square().sum().backward()


if __name__ == "__main__":
    main()
