"""Compare surrogates, widths, losses, ways to take the gradient and norms on a small network.

    python -m spikeport.scripts.experiments.finetune_table

trains a network of two convolutions on scikit-learn's digits, converts it to binary neurons and
fine-tunes it in every combination; prints the Markdown tables of docs/finetune.md.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from spikeport.convert import SpikingNetwork
from spikeport.finetune.gradient.batch_norms import NORMS
from spikeport.finetune.neuron.surrogates import SHAPES, Surrogate
from spikeport.finetune.training.evaluation import evaluate
from spikeport.finetune.training.losses import TET, CrossEntropy, Distillation, Loss, RateMatching
from spikeport.finetune.training.plan import FineTuning
from spikeport.finetune.tuning import finetune
from spikeport.zoo.pipeline import to_snn

TRAINING_IMAGES = 1000
SEEDS = (0, 1)
EPOCHS = 3
TIMESTEPS = 2
WIDTHS = (0.5, 1.0, 2.0)
LOSSES: dict[str, list[Loss]] = {
    "cross-entropy": [CrossEntropy()],
    "TET": [TET()],
    "distillation": [Distillation()],
    "TET, distillation": [TET(), Distillation()],
    "TET, distillation, rate matching": [TET(), Distillation(), RateMatching(0.1)],
}

Batches = list[tuple[Tensor, Tensor]]


class Setting(NamedTuple):
    """A source network, its conversion and images."""

    ann: nn.Module
    snn: SpikingNetwork
    train: Batches
    test: Batches


def setting() -> Setting:
    """The same in every call."""
    torch.manual_seed(0)
    data = load_digits()
    order = torch.randperm(len(data.target))
    images = torch.tensor(data.images, dtype=torch.float32)[order, None] / 16
    labels = torch.tensor(data.target)[order]
    train = _batches(images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES])
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    ann = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(ann.parameters(), 2e-3)
    for _ in range(20):
        for x, y in train:
            optimizer.zero_grad()
            F.cross_entropy(ann(x), y).backward()
            optimizer.step()
    test = _batches(images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:])
    snn = to_snn(ann.eval(), train, "if", timesteps=TIMESTEPS, progress=False)
    return Setting(ann, snn, train, test)


def _batches(images: Tensor, labels: Tensor) -> Batches:
    return list(zip(images.split(50), labels.split(50), strict=True))


def accuracy(
    made: Setting, surrogate: Surrogate, losses: list[Loss], method: str, norm: str = "folded"
) -> float:
    """Mean over the seeds, in percent; they decide the order of the batches."""
    found = []
    for seed in SEEDS:
        shuffled = torch.randperm(
            len(made.train), generator=torch.Generator().manual_seed(seed)
        ).tolist()
        tuned = finetune(
            made.snn,
            [made.train[place] for place in shuffled],
            TIMESTEPS,
            EPOCHS,
            made.ann,
            plan=FineTuning(losses=losses, surrogate=surrogate, method=method, norm=norm),
            progress=False,
        )
        found.append(evaluate(tuned, made.test, (TIMESTEPS,))[f"accuracy_{TIMESTEPS}"])
    return sum(found) / len(found)


def main() -> None:
    """Print the tables."""
    made = setting()
    before = evaluate(made.snn, made.test, (TIMESTEPS,))[f"accuracy_{TIMESTEPS}"]
    right = sum(int((made.ann(x).argmax(1) == y).sum()) for x, y in made.test)
    source = 100 * right / sum(len(y) for _, y in made.test)
    print(f"Source {source:.1f} %, converted {before:.1f} % at T={TIMESTEPS}.\n")
    columns = [(shape, width) for shape in SHAPES for width in WIDTHS]
    cells: dict[str, list[Callable[[], float]]] = {
        name: [partial(accuracy, made, Surrogate(s, w), losses, "bptt") for s, w in columns]
        for name, losses in LOSSES.items()
    }
    _print_table("loss", [f"{shape} {width:g}" for shape, width in columns], cells)
    usual = LOSSES["TET, distillation"]
    ways: dict[str, list[Callable[[], float]]] = {
        "reset detached": [
            partial(accuracy, made, Surrogate(), usual, way) for way in ("bptt", "sltt", "ottt")
        ],
        "reset not detached": [
            partial(accuracy, made, Surrogate(detach_reset=False), usual, "bptt")
        ],
    }
    print()
    _print_table("TET, distillation", ["BPTT", "SLTT", "OTTT"], ways)
    print()
    norms: dict[str, list[Callable[[], float]]] = {
        "TET, distillation": [
            partial(accuracy, made, Surrogate(), usual, "bptt", norm) for norm in NORMS
        ]
    }
    _print_table("norm", list(NORMS), norms)


def _print_table(
    corner: str, columns: list[str], cells: dict[str, list[Callable[[], float]]]
) -> None:
    print(f"| {corner} | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name, row in cells.items():
        found = [f"{cell():.1f}" for cell in tqdm(row, name, leave=False)]
        found += ["" for _ in columns[len(row) :]]
        print(f"| {name} | " + " | ".join(found) + " |", flush=True)


if __name__ == "__main__":
    main()
