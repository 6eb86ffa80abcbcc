"""One network, several neurons, one table: accuracy and agreement over timesteps.

    python -m spikeport.scripts.neuron_table --data DIR -o results

prints the table for EfficientNet-Lite0 with its ImageNet weights on any folder of images. Each
neuron's curve is kept in the output folder as it is finished; a run that was stopped goes on there.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from spikeport.convert import Neuron
from spikeport.report.curve import Curve
from spikeport.report.plot import plot_curves
from spikeport.report.sweeping import sweep
from spikeport.scripts.options import loader, neuron, positive, timestep_list
from spikeport.zoo.checkpoints import LITE0_PACKAGE, load_model
from spikeport.zoo.images import image_folder, input_config, split
from spikeport.zoo.pipeline import to_snn


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the table."""
    options = _parser().parse_args(arguments)
    out = Path(options.output)
    out.mkdir(parents=True, exist_ok=True)
    curves = {}
    for spec in options.neurons or [Neuron(1, 1), Neuron(4, 4)]:
        curves[f"{spec.max_up} up, {spec.max_down} down"] = curve = _curve(spec, options, out)
        print(f"\n{curve}", flush=True)
    plot_curves(curves, out / "curves.png")


def _curve(spec: Neuron, options: argparse.Namespace, out: Path) -> Curve:
    limit = options.timesteps
    key = f"{options.model.replace('/', '_')}-{spec.max_up}-{spec.max_down}-{options.recipe}"
    file = out / f"{key}-T{limit[-1]}-{options.calibration}-{options.evaluation}.json"
    if file.exists():
        return Curve(**json.loads(file.read_text(encoding="utf-8")))
    model = load_model(options.model, options.checkpoint)
    folder = image_folder(options.data, input_config(model))
    calibration, evaluation = split(folder, options.calibration, options.evaluation, options.seed)
    network = to_snn(
        model, loader(calibration, options.batch_size), spec, options.recipe, limit[-1]
    )
    curve = sweep(network, loader(evaluation, options.batch_size), limit, reference=model)
    curve.save(file)
    return curve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neuron_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of labelled images")
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--checkpoint", default=LITE0_PACKAGE, metavar="F")
    parser.add_argument(
        "--neuron",
        dest="neurons",
        type=neuron,
        action="append",
        metavar="KIND",
        help="kind or UP,DOWN; repeat for several (default: 1,1 and 4,4)",
    )
    parser.add_argument("--recipe", default="default")
    parser.add_argument("-T", "--timesteps", type=timestep_list, default=(1, 2, 4, 8, 16, 32, 64))
    parser.add_argument("--calibration", type=positive, default=100, metavar="N")
    parser.add_argument("--evaluation", type=positive, default=200, metavar="N")
    parser.add_argument("--batch-size", type=positive, default=4, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", required=True, metavar="DIR")
    return parser


if __name__ == "__main__":
    main()
