"""Seconds for one training step of the CIFAR-10 networks, by method, uncompiled and compiled.

    python -m spikeport.scripts.experiments.finetune_speed

prints a Markdown table. The ways take turns, so that a busy machine slows all of them; the image
batch is random, batch norms are alive, and the median is given.
"""

import argparse
from collections.abc import Sequence
from itertools import product

from spikeport.scripts.bench.training_step import training_step
from spikeport.scripts.bench.turns import medians
from spikeport.scripts.options import positive

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
        steps = [training_step(model, options.batch_size, options.timesteps, *way) for way in ways]
        cells = " | ".join(f"{seconds:.3f}" for seconds in medians(steps, options.repeats))
        print(f"| {model} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
