"""A check that the error budget adds up, on networks with trained weights.

``python -m spikeport.scripts.experiments.error_budgets`` needs no data set and no network: the
images are crops of the demo's photographs. It prints an inspection of each network and how long
it took.
"""

import argparse
import time

import torch

from spikeport.convert import KINDS
from spikeport.convert.neurons import NeuronModel
from spikeport.report.inspecting.inspection import Inspection
from spikeport.scripts.options import neuron, positive
from spikeport.zoo.checkpoints import LITE0_PACKAGE, load_model
from spikeport.zoo.images import input_config, make_transform
from spikeport.zoo.photos import demo_split
from spikeport.zoo.pipeline import inspect, to_snn

NETWORKS = {"tf_efficientnet_lite0": LITE0_PACKAGE, "cifar10/resnet20": None}
STRIDE = 5  # of the photographs' eight views each, so that few images show several scenes


def budget(model: str, neuron_model: NeuronModel, timesteps: int, images: int) -> Inspection:
    """Convert a model with the default recipe and inspect it on photographs.

    Args:
        model: its name; weights are those of NETWORKS, or the hub's.
        neuron_model: how the neurons fire.
        timesteps: T to convert for and to inspect at.
        images: how many to inspect, none of them calibrated on.
    """
    source = load_model(model, NETWORKS.get(model))
    transform = make_transform(input_config(source))
    calibration, evaluation = demo_split()
    seen = torch.stack([transform(image) for image in calibration])
    snn = to_snn(source, list(seen.split(8)), neuron_model, timesteps=timesteps)
    fresh = torch.stack(
        [transform(image) for image in list(evaluation.values())[::STRIDE][:images]]
    )
    return inspect(snn, [fresh], timesteps, source)


def main() -> None:
    """Print the budget of each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(NETWORKS))
    parser.add_argument("--neuron", type=neuron, default=KINDS["signed"])
    parser.add_argument("-T", "--timesteps", type=positive, default=16)
    parser.add_argument("--images", type=positive, default=8)
    options = parser.parse_args()
    for model in options.models:
        begun = time.perf_counter()
        found = budget(model, options.neuron, options.timesteps, options.images)
        print(f"\n{model}\n{found}\n{time.perf_counter() - begun:.0f} s, conversion included")


if __name__ == "__main__":
    main()
