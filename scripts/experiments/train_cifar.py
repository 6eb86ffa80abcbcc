"""Train a CIFAR-10 network, on a CPU in about an hour.

    python -m spikeport.scripts.experiments.train_cifar cifar10/resnet20 --data DIR -o OUT

writes OUT/<model>.safetensors, OUT/<model>.json (recipe and accuracy) and OUT/log.csv. Started
again with the same options, it goes on after the last finished epoch.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from spikeport.convert.files import replacing, write_text
from spikeport.finetune.training.folder import TrainingFolder
from spikeport.scripts.experiments.cifar_training import CifarTraining, TrainingRecipe
from spikeport.scripts.options import positive
from spikeport.zoo.cifar import MEAN, NAMES, PREFIX, STD, build
from spikeport.zoo.cifar_data import read_split

HALF_IF_WITHIN = 0.05  # percentage points that float16 weights may move the accuracy by


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, or go on; returns the exit status (2 for what the user can mend)."""
    options = _parser().parse_args(arguments)
    try:
        train(options)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"train_cifar: {error}", file=sys.stderr)
        return 2
    return 0


def train(options: argparse.Namespace) -> None:
    """All epochs that are not done yet, then the weights."""
    out = Path(options.output)
    out.mkdir(parents=True, exist_ok=True)
    recipe = TrainingRecipe(
        **{field.name: getattr(options, field.name) for field in fields(TrainingRecipe)}
    )
    training = _training(options.model, recipe, options.data, options.compile)
    folder, identity = TrainingFolder(out), {"model": options.model} | asdict(recipe)
    state = folder.state(identity)
    if state is not None:
        training.restore(state)
        print(f"{out}: going on after epoch {len(training.rows)}", flush=True)

    def keep() -> None:
        folder.keep(training, identity)
        row = training.rows[-1]
        print(
            f"epoch {row['epoch']:.0f}/{recipe.epochs}: loss {row['train_loss']:.3f}, train "
            f"{row['train_accuracy']:.2f} %, test {row['test_accuracy']:.2f} %, "
            f"{row['seconds']:.0f} s",
            flush=True,
        )

    training.run(keep)
    export(training, options.model, out)


def export(training: CifarTraining, name: str, out: Path) -> dict[str, Any]:
    """Writes the weights and, beside them, how they were made.

    The weights are float16 where the accuracy stays within `HALF_IF_WITHIN` points, otherwise
    float32. The training's model holds the written weights afterwards.

    Args:
        training: a finished one.
        name: the model, "cifar10/resnet20".
        out: the folder.

    Returns:
        What the JSON file holds; accuracies in percent.
    """
    full = {k: v.clone().contiguous() for k, v in training.network.state_dict().items()}
    full = {k: v for k, v in full.items() if not k.endswith("num_batches_tracked")}
    half = {k: v.half() for k, v in full.items()}
    accuracy = {torch.float32: training.evaluate()}
    training.network.load_state_dict(half, strict=False)
    accuracy[torch.float16] = training.evaluate()
    near = abs(accuracy[torch.float16] - accuracy[torch.float32]) <= HALF_IF_WITHIN
    kind, weights = (torch.float16, half) if near else (torch.float32, full)
    training.network.load_state_dict(weights, strict=False)
    record = {
        "model": name,
        "mean": list(MEAN),
        "std": list(STD),
        "test_accuracy": accuracy[kind],
        "test_accuracy_float32": accuracy[torch.float32],
        "test_images": len(training.test[0]),
        "train_images": len(training.train[0]),
        "dtype": str(kind).removeprefix("torch."),
        "recipe": asdict(training.recipe),
        "epochs_trained": len(training.rows),
        "seconds": round(sum(row["seconds"] for row in training.rows)),
        "torch": torch.__version__,
        "compiled": training.compiled,
    }
    target = out / f"{_stem(name)}.safetensors"
    with replacing(target) as file:
        file.write(save(weights))
    text = json.dumps(record, indent=1) + "\n"
    write_text(target.with_suffix(".json"), text)
    print(f"{target}: test {accuracy[kind]:.2f} % of {len(training.test[0])} images")
    return record


def _training(name: str, recipe: TrainingRecipe, data: str, compiled: bool) -> CifarTraining:
    splits = read_split(data, "train"), read_split(data, "test")
    torch.manual_seed(recipe.seed)
    normalization = torch.tensor(MEAN), torch.tensor(STD)
    return CifarTraining(build(name), recipe, *splits, normalization, compiled)


def _stem(name: str) -> str:
    return name.replace("/", "_")


def _name(text: str) -> str:
    name = text if text.startswith(PREFIX) else PREFIX + text
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(NAMES)}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spikeport.scripts.experiments.train_cifar",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=_name, metavar="MODEL", help=", ".join(NAMES))
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="folder or .zip with train/<class>/ and test/<class>/, or with the original "
        "cifar-10-batches-py",
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="train through torch.compile: needs a C++ compiler, faster after a minute",
    )
    default = TrainingRecipe()
    for field, help_text in _HELP.items():
        value = getattr(default, field)
        parser.add_argument(
            f"--{field.replace('_', '-')}",
            type=positive if field in ("epochs", "batch_size") else type(value),
            default=value,
            metavar="N" if isinstance(value, int) else "X",
            help=f"{help_text} (default: {value})",
        )
    return parser


_HELP = {
    "epochs": "passes over the training images",
    "batch_size": "images per step",
    "learning_rate": "at its peak",
    "warm_up": "part of the steps in which the learning rate rises",
    "momentum": "Nesterov's, of the gradient",
    "weight_decay": "of all weights",
    "label_smoothing": "of the targets",
    "seed": "of the initial weights and of every draw",
}


if __name__ == "__main__":
    raise SystemExit(main())
