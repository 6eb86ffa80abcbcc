"""``spikeport demo``: an ImageNet network becomes a spiking one, on photographs from pip."""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from spikeport.convert import Neuron, SpikingNetwork
from spikeport.scripts.options import add_neuron
from spikeport.zoo.checkpoints import LITE0_PACKAGE, load_model
from spikeport.zoo.images import input_config, make_transform
from spikeport.zoo.labels import class_names
from spikeport.zoo.photos import demo_split
from spikeport.zoo.pipeline import to_snn

MODEL = "tf_efficientnet_lite0"
TIMESTEPS = (1, 2, 4, 8, 16, 32)
BATCH = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        f"Convert {MODEL} with real ImageNet weights and compare it with its source "
        "on photographs that ship inside pip packages. Needs `pip install 'spikeport[demo]'`, "
        "no data set and no network."
    )
    add_neuron(parser)
    parser.add_argument(
        "-o",
        "--output",
        default="demo.png",
        metavar="F",
        help="where to draw the curve (default: demo.png); the page and the numbers go beside it",
    )
    parser.set_defaults(run=run, neuron=Neuron(4, 4))


def run(options: argparse.Namespace) -> None:
    """Load, convert, compare, measure, write the page, plot."""
    from spikeport.report.page.write_report import write_report  # matplotlib, which --help spares

    model = load_model(MODEL, LITE0_PACKAGE)
    transform = make_transform(input_config(model))
    calibration, evaluation = demo_split()
    print(
        f"Converting {MODEL} to {options.neuron.label} neurons, calibrated on "
        f"{len(calibration)} crops of photographs …"
    )
    network = to_snn(model, _batches([transform(image) for image in calibration]), options.neuron)
    network.info.update(source=MODEL, checkpoint=LITE0_PACKAGE)
    tensors = {name: transform(image) for name, image in evaluation.items()}
    _compare_labels(model, network, {n: t for n, t in tensors.items() if n.isalpha()})
    print(
        f"\n{len(tensors)} crops of these photographs (5 scenes, none calibrated on; no labels: "
        "what is measured is agreement with the source network):\n"
    )
    page = Path(options.output).with_suffix(".html")
    [curve] = write_report(
        network,
        _batches(list(tensors.values())),
        page,
        TIMESTEPS,
        reference=model,
        class_names=class_names(model),
        inspected=0,  # which would take as long as all the rest
        command="spikeport demo",
    )
    print(curve)
    print(f"saved {page}")
    for output in (Path(options.output), Path(options.output).with_suffix(".csv")):
        curve.save(output)
        print(f"saved {output}")


def _batches(images: list[Tensor]) -> list[Tensor]:
    return [torch.stack(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]


@torch.no_grad()
def _compare_labels(model: nn.Module, network: SpikingNetwork, photos: dict[str, Tensor]) -> None:
    """Print what the source network and the spiking one see in each photograph."""
    names = class_names(model) or []
    images = torch.stack(list(photos.values()))
    scores = network.anytime(images, TIMESTEPS[-1])
    columns = {"source network": model(images)} | {
        f"spiking, T={time}": scores[time - 1] for time in (4, TIMESTEPS[-1])
    }
    print("\n" + "photo".ljust(12) + "".join(head.ljust(28) for head in columns))
    for row, photo in enumerate(photos):
        cells = []
        for output in columns.values():
            share, best = output[row].softmax(0).max(0)
            cells.append(f"{names[int(best)]} ({float(share):.2f})".ljust(28))
        print(photo.ljust(12) + "".join(cells))
