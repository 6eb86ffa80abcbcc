"""``spikeport convert``: a checkpoint and calibration images in, a spiking network out."""

import argparse

from spikeport.calibration.recipes import RECIPES
from spikeport.convert.saving.container import save
from spikeport.convert.task import TASKS
from spikeport.scripts.options import (
    add_data,
    add_encoding,
    add_neuron,
    fingerprints,
    loader,
    positive,
)
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.images import image_folder, input_config, split
from spikeport.zoo.pipeline import to_snn


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = "Convert a timm or torchvision model, calibrate it on images, save it."
    parser.add_argument(
        "model",
        metavar="MODEL",
        help='timm name ("resnet18.a1_in1k") or torchvision name ("torchvision/resnet18")',
    )
    parser.add_argument(
        "--checkpoint",
        metavar="F",
        help='weights: a .safetensors, .pt or .pth file, or "random" (default: the hub\'s)',
    )
    add_data(parser, 100, "to calibrate on")
    add_neuron(parser)
    parser.add_argument(
        "--recipe",
        default="default",
        choices=sorted(RECIPES),
        help="calibration recipe (default: default)",
    )
    parser.add_argument(
        "--timesteps",
        type=positive,
        metavar="T",
        help="the T to calibrate for, where the recipe depends on it",
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="what the output is used as: class scores, or values that are the answer (default: "
        "class scores if the model is a classifier)",
    )
    parser.add_argument(
        "--analog-bottlenecks",
        action="store_true",
        help="leave linear bottlenecks analog instead of making them spike",
    )
    add_encoding(parser, "constant")
    parser.add_argument("-o", "--output", required=True, metavar="F", help="file to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Convert, calibrate, save."""
    model = load_model(options.model, options.checkpoint)
    config = input_config(model)
    folder = image_folder(options.data, config)
    count = min(options.images, len(folder))  # type: ignore[arg-type]
    chosen, _ = split(folder, count, 0, options.seed)
    network = to_snn(
        model,
        loader(chosen, options.batch_size),
        options.neuron,
        options.recipe,
        options.timesteps,
        analog_bottlenecks=options.analog_bottlenecks,
        task=options.task,
    )
    if options.encoding is not None:
        network.encoding = options.encoding
    network.info.update(
        source=options.model,
        checkpoint=options.checkpoint,
        input=config,
        calibration_images=fingerprints(chosen),
    )
    save(network, options.output)
    print(
        f"{options.output}: {options.model}, {len(network.neurons)} layers of "
        f"{network.info['neuron_label']} neurons, recipe '{options.recipe}' on {count} images"
    )
    for layer in network.analog_layers():
        print(f"  analog input: {layer}")
