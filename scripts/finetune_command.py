"""``spikeport finetune``: surrogate-gradient training of a converted network."""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from spikeport.calibration.recipes import RECIPES
from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.saving.container import save
from spikeport.finetune.distributed import loader
from spikeport.finetune.gradient.batch_norms import NORMS
from spikeport.finetune.gradient.through_time import METHODS
from spikeport.finetune.neuron.surrogates import SHAPES, Surrogate
from spikeport.finetune.training.losses import LOSSES, Loss
from spikeport.finetune.training.optimization import ALGORITHMS, Optimization
from spikeport.finetune.training.plan import FineTuning
from spikeport.finetune.tuning import finetune
from spikeport.scripts.options import add_data, fingerprints, positive, timestep_list, together
from spikeport.scripts.saved_network import add_network, load_for_images
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.images import image_folder, split

KEEP = "none"
KEPT_BYTES = 2**31  # of prepared images in memory


def terms(text: str) -> list[Loss]:
    """ "tet,distillation:0.5,spike-budget:3:0.1" as losses: names, weights, further numbers."""
    found = []
    for part in text.split(","):
        name, *numbers = part.split(":")
        try:
            found.append(LOSSES[name](*map(float, numbers)))
        except (KeyError, TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(
                f"'{part}' is no loss ({error}); expected NAME or NAME:WEIGHT with one of "
                f"{', '.join(LOSSES)}, for example tet,distillation:0.5,spike-budget:3:0.1"
            ) from error
    return found


def leak(text: str) -> float | str:
    """A number, or "learn"."""
    return text if text == "learn" else float(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        "Fit the thresholds to T, train with surrogate gradients, save. Several "
        "processes: torchrun --nproc_per_node=N -m spikeport.scripts.cli finetune …"
    )
    add_network(parser)
    add_data(parser, None, "to train on; they are then left out of sweeps")
    parser.add_argument("-o", "--output", required=True, metavar="F", help="file to write")
    _add_time(parser)
    _add_training(parser)
    parser.set_defaults(run=run, batch_size=64)


def _add_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-T",
        "--timesteps",
        type=timestep_list,
        required=True,
        metavar="T,T,…",
        help="T to train for; of several, each step draws one",
    )
    parser.add_argument("--anneal-from", type=positive, metavar="T", help="T to come down from")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="bptt",
        help="gradient over time; quantized: train without time (default: bptt)",
    )
    parser.add_argument(
        "--chunk", type=positive, metavar="N", help="timesteps between kept states: less memory"
    )
    parser.add_argument(
        "--leak", type=leak, metavar="L", help='leak of LIF neurons, or "learn" (default: IF)'
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=positive, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--losses", type=terms, metavar="NAME:WEIGHT,…", help=f"of {', '.join(LOSSES)}"
    )
    parser.add_argument(
        "--teacher",
        metavar="MODEL",
        help="distil from this model (default: the source network in the file, until it is "
        "fine-tuned)",
    )
    parser.add_argument("--teacher-checkpoint", metavar="F", help="weights of MODEL")
    parser.add_argument(
        "--no-labels",
        action="store_true",
        help="learn from the teacher alone (default: where there are no class folders)",
    )
    parser.add_argument(
        "--augment",
        action="store_true",
        help="mirror half of the images, and shift them by up to an eighth of their size",
    )
    parser.add_argument(
        "--recipe",
        default="default",
        choices=[*sorted(RECIPES), KEEP],
        metavar="NAME",
        help=f"that fits the thresholds to T (default: default); {KEEP}: they stay as they are",
    )
    parser.add_argument("--surrogate", default="triangle", choices=sorted(SHAPES))
    parser.add_argument("--width", type=float, default=1.0, help="of it, in thresholds")
    parser.add_argument(
        "--norm",
        choices=NORMS,
        default="folded",
        help="batch norms during training: none, plain, or threshold-dependent ones (tdBN)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="neurons by torch.compile, with --method quantized often the whole network, and batch "
        "norms by torch's kernel: minutes at first, then faster; needs a C++ compiler",
    )
    parser.add_argument(
        "--mixed-precision",
        action=argparse.BooleanOptionalAction,
        help="layers between neurons in bfloat16 (default: on GPUs that have it)",
    )
    _add_optimization(parser)
    parser.add_argument("--validation", metavar="DIR", help="images to measure on every epoch")
    parser.add_argument("--patience", type=positive, metavar="N", help="epochs to wait for better")
    parser.add_argument(
        "--folder", metavar="DIR", help="log and state; a stopped training goes on from there"
    )
    parser.add_argument(
        "--device", default="cpu", help="default: cpu; cuda under torchrun: one each"
    )


def _add_optimization(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="adamw", help="default: adamw")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default: 1e-3)")
    parser.add_argument(
        "--neuron-rate",
        type=float,
        metavar="RATE",
        help="that of thresholds, potentials and corrections (default: ten times the other)",
    )
    parser.add_argument(
        "--weight-decay", type=float, default=1e-4, metavar="D", help="default: 1e-4"
    )
    parser.add_argument(
        "--average", type=float, metavar="D", help="decay of a moving average of the weights"
    )


def run(options: argparse.Namespace) -> None:
    """Load, train, save."""
    network = load_for_images(options.network)
    with together(options.device) as device:
        network.to(device)
        folder = image_folder(options.data, network.info["input"])
        count = min(options.images or len(folder), len(folder))  # type: ignore[arg-type]
        chosen, _ = split(folder, count, 0, options.seed)
        validation = None
        if options.validation:
            held_out = image_folder(options.validation, network.info["input"])
            validation = loader(_Kept(held_out), options.batch_size, shuffle=False)
        data: Dataset[Any] = _Kept(chosen)
        data = _Augmented(data) if options.augment else data
        data = _Images(data) if options.no_labels else data
        tuned = finetune(
            network,
            loader(data, options.batch_size, shuffle=True),
            options.timesteps,
            options.epochs,
            _teacher(network, options, device),
            plan=_plan(options),
            validation=validation,
            output=options.folder,
        )
        if processes.is_first():
            used = {*network.info.get("calibration_images", []), *fingerprints(chosen)}
            tuned.info["calibration_images"] = sorted(used)
            save(tuned.cpu(), options.output)
            print(f"{options.output}: {options.epochs} epochs on {count} images")


def _teacher(
    network: SpikingNetwork, options: argparse.Namespace, device: torch.device
) -> Callable[[Tensor], Any] | None:
    if options.teacher:
        return load_model(options.teacher, options.teacher_checkpoint).to(device)
    if "finetuned" not in network.info:
        return network.analog
    if options.losses is None or any(term.teacher for term in options.losses):
        raise ConversionError(
            f"'{options.network}' was fine-tuned before, so its weights are no longer those of a "
            "source network to distil from; pass --teacher MODEL, or --losses without distillation"
        )
    return None


def _plan(options: argparse.Namespace) -> FineTuning:
    return FineTuning(
        losses=options.losses,
        recipe=None if options.recipe == KEEP else options.recipe,
        anneal_from=options.anneal_from,
        surrogate=Surrogate(options.surrogate, options.width),
        method=options.method,
        chunk=options.chunk,
        optimization=_optimization(options),
        leak=options.leak,
        norm=options.norm,
        patience=options.patience,
        mixed_precision=options.mixed_precision,
        compiled=options.compile,
        seed=options.seed,
    )


def _optimization(options: argparse.Namespace) -> Optimization:
    neuron_rate = 10 * options.rate if options.neuron_rate is None else options.neuron_rate
    return Optimization(
        options.algorithm,
        options.rate,
        neuron_rate,
        options.weight_decay,
        average=options.average,
    )


class _Kept(Dataset[Any]):
    """Images and labels that are read once and then stay in memory, as many as have room."""

    def __init__(self, pairs: Dataset[Any]) -> None:
        self.pairs, self.room = pairs, KEPT_BYTES
        self.kept: dict[int, tuple[Tensor, int]] = {}

    def __len__(self) -> int:
        return len(self.pairs)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in self.kept:
            return self.kept[index]
        pair: tuple[Tensor, int] = self.pairs[index]
        if pair[0].nbytes <= self.room:
            self.room -= pair[0].nbytes
            self.kept[index] = pair
        return pair


class _Augmented(Dataset[tuple[Tensor, int]]):
    """Images, [C, H, W], mirrored and shifted at random, as CIFAR networks are trained with."""

    def __init__(self, pairs: Dataset[Any]) -> None:
        from torchvision.transforms import v2  # imports for seconds, and few ask for it

        size = tuple(pairs[0][0].shape[1:])
        shift = v2.RandomCrop(size, padding=[size[1] // 8, size[0] // 8])
        self.pairs, self.change = pairs, v2.Compose([shift, v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.pairs)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.pairs[index]
        return self.change(image), label


class _Images(Dataset[Tensor]):
    """The images of a labelled data set."""

    def __init__(self, pairs: Dataset[Any]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.pairs[index][0]
        return image
