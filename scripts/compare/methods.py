"""One network, recipes × neurons × T, one table: accuracy, spikes, operations, seconds.

    python -m spikeport.scripts.compare.methods cifar10/resnet20 --data cifar10/train \\
        --test-data cifar10/test --recipes all --neurons if,signed,8:8 -T 4,8,16,32 -o results

The output folder gets results.csv, to which each run is appended as soon as it is through, table.md
and curves.png. Started again, it runs what is missing; several programs may fill one folder, each
with its own recipes. Results that were measured on other images, with other weights or other passes
stay in the .csv and out of the table. They do not know when Spikeport's own code changes: after
that, take another folder.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from spikeport.calibration.recipes import RECIPES
from spikeport.convert import SpikingNetwork, build
from spikeport.convert.files import write_text
from spikeport.convert.neurons import NeuronModel
from spikeport.convert.saving.digest import digest
from spikeport.scripts.compare import cells as compare_cells
from spikeport.scripts.compare.cells import Run, recipe_list
from spikeport.scripts.compare.images import read_samples
from spikeport.scripts.compare.plot import plot
from spikeport.scripts.compare.results import FAILED, Results, Row
from spikeport.scripts.compare.runs import Comparison, run_all
from spikeport.scripts.compare.table import markdown, summary
from spikeport.scripts.options import neuron_list, positive, timestep_list
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.images import input_config
from spikeport.zoo.timm_layers import simplify

NEURONS = "if,signed,multi-level,multi-threshold"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit status, 1 if a cell failed, 2 for unusable arguments."""
    options = _parser().parse_args(arguments)
    try:
        return _compare(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"compare_methods: {error}", file=sys.stderr)
        return 2


def _compare(options: argparse.Namespace) -> int:
    out = Path(options.output)
    out.mkdir(parents=True, exist_ok=True)
    results = Results(out / "results.csv")
    subject = _subject(options)
    recipes = options.recipes or sorted(RECIPES)
    runs = compare_cells.plan(
        recipes, options.neurons, options.timesteps, options.all_neurons, _builder(subject)
    )
    title = f"{options.model}, recipes × neurons × T"

    def write_table() -> None:
        page = markdown(_comparable(results, runs, subject), title)
        write_text(out / "table.md", page)

    write_table()
    try:
        run_all(runs, subject, results, options.retry_failed, write_table)
    finally:  # an interrupted comparison has its plot too
        rows = _comparable(results, runs, subject)
        plot(rows, title, out / "curves.png")
        print(summary(rows))
    return _status(results, runs, subject)


def _subject(options: argparse.Namespace) -> Comparison:
    torch.manual_seed(options.seed)  # for --checkpoint random
    model = load_model(options.model, options.checkpoint)
    calibration, evaluation = read_samples(
        input_config(model),
        options.data,
        options.test_data,
        (options.calibration_images, options.images),
        (options.calibration_batch_size, options.batch_size),
        options.seed,
    )
    facts = {
        "model": options.model,
        "weights": digest(model.state_dict())[:16],
        "calibration": calibration.digest,
        "evaluation": evaluation.digest,
        "seed": options.seed,
        "calibration_batch": options.calibration_batch_size,  # layers may be adjusted batchwise
    }
    return Comparison(model, calibration, evaluation, options.seed, facts)


def _builder(subject: Comparison) -> Callable[[NeuronModel], SpikingNetwork]:
    images, _ = next(iter(subject.calibration.batches))

    def network_with(neuron: NeuronModel) -> SpikingNetwork:
        return build(subject.model, images, neuron, simplify=simplify)

    return network_with


def _comparable(results: Results, runs: Iterable[Run], subject: Comparison) -> list[Row]:
    """One row for each cell that was measured on these images, with these weights.

    Also cells of earlier calls with other recipes. Where a recipe's passes have changed, what this
    call asked for counts, or else the latest.
    """
    rows = [
        row
        for row in results.by_key().values()
        if all(row[name] == str(value) for name, value in subject.facts.items())
    ]
    asked = {run.key(subject.facts, T) for run in runs for T in run.timesteps}
    latest: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: row["key"] in asked):
        latest[row["recipe"], row["neuron"], row["T"]] = row
    return list(latest.values())


def _status(results: Results, runs: Iterable[Run], subject: Comparison) -> int:
    found = results.by_key()
    asked = [found[run.key(subject.facts, T)] for run in runs for T in run.timesteps]
    failed = [row for row in asked if row["status"] == FAILED]
    for row in failed:
        print(
            f"failed: {row['recipe']}, {row['neuron']}, T={row['T']}: {row['error']}",
            file=sys.stderr,
        )
    if failed:
        print(f"{len(failed)} cells failed; --retry-failed tries them again", file=sys.stderr)
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compare_methods",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help='"cifar10/resnet20", or a timm or torchvision name')
    add("--checkpoint", metavar="F", help='weights file, or "random" (default: the name\'s own)')
    add("--data", required=True, metavar="DIR", help="labelled images to calibrate on")
    add("--test-data", metavar="DIR", help="images to evaluate on (default: others of --data)")
    add("--recipes", type=recipe_list, metavar="R,R,…", help="default: all")
    add(
        "--neurons",
        type=neuron_list,
        default=neuron_list(NEURONS),
        metavar="N,N,…",
        help="names of kinds, UP:DOWN such as 8:8, mt:EXPONENTS, diff:mt:EXPONENTS; for recipes "
        f"that have none of their own (default: {NEURONS})",
    )
    add("--all-neurons", action="store_true", help="for recipes that have their own neuron, too")
    add("-T", "--timesteps", type=timestep_list, default=(1, 2, 4, 8, 16, 32), metavar="T,T,…")
    add("--images", type=positive, default=1000, metavar="N", help="to evaluate on (1000)")
    add("--calibration-images", type=positive, default=256, metavar="N", help="default: 256")
    add("--batch-size", type=positive, default=20, metavar="N", help="images simulated at once")
    add("--calibration-batch-size", type=positive, default=32, metavar="N", help="default: 32")
    add("--seed", type=int, default=0, help="of the draw of the images (default: 0)")
    add("--retry-failed", action="store_true", help="run cells again that failed before")
    add("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
