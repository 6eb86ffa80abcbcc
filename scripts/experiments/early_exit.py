"""Savings of early exit: mean T, accuracy and wall time against all T timesteps.

    python -m spikeport.scripts.experiments.early_exit net.snn --data DIR -T 32 --images 700

The threshold is set on --exit-images of the images, the others are evaluated.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikeport.convert.simulation.early_exit import EarlyExit
from spikeport.report.sweeping.exit_calibration import calibrate_exit
from spikeport.scripts.options import add_data, loader, positive, timestep_list
from spikeport.scripts.saved_network import add_network, fresh_images, hold_out, load_for_images
from spikeport.scripts.sweep_command import add_exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate, evaluate, print one line for each interval between decisions."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_network(parser)
    add_data(parser, 500, "to set the threshold on and to evaluate on")
    parser.add_argument("-T", "--timesteps", type=positive, default=32, metavar="T")
    parser.add_argument("--every", type=timestep_list, default=(1, 2, 4), metavar="N,N,…")
    parser.add_argument("--backend", default="cpu")
    add_exit(parser)
    options = parser.parse_args(arguments)
    network = load_for_images(options.network)
    network.backend = options.backend
    held_out, rest = hold_out(fresh_images(network, options), options.exit_images)
    batches = list(loader(rest, options.batch_size))
    wanted, last = options.early_exit or 0.99, options.timesteps
    print(
        f"{options.network}: {network.info['neuron_label']}, backend {options.backend}, batches of "
        f"{options.batch_size}; threshold for {wanted:g} agreement on {len(held_out)} images, "
        f"{len(rest)} others evaluated"
    )
    full = _measure(batches, lambda x: (network(x, last), torch.full((len(x),), last)))
    print(f"all {last} timesteps: {_line(full)}")
    for every in options.every:
        held = list(loader(held_out, options.batch_size))
        exit = calibrate_exit(network, held, last, wanted, options.exit_rule, every)
        found = _measure(batches, partial(network.early_exit, timesteps=last, exit=exit))
        same = float((found[0] == full[0]).float().mean())
        print(f"{_rule(exit)}: {_line(found)}, {same:.3f} as after T={last}")


def _measure(
    batches: list[Any], answer: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, float, float | None, float]:
    """Classes, mean T, accuracy (None without labels) and seconds per image."""
    classes, times, seconds = [], [], 0.0
    for images, _ in batches:
        begin = time.perf_counter()
        scores, taken = answer(images)
        seconds += time.perf_counter() - begin
        classes.append(scores.argmax(1))
        times.append(taken)
    labels = torch.cat([labels for _, labels in batches])
    known, best = labels >= 0, torch.cat(classes)
    top1 = float((best == labels)[known].double().mean()) if bool(known.any()) else None
    mean = float(torch.cat(times).double().mean())
    return best, mean, top1, seconds / len(labels)


def _rule(exit: EarlyExit) -> str:
    return f"{exit.rule} {exit.threshold:.4g} from T={exit.first}, every {exit.every}"


def _line(found: tuple[Tensor, float, float | None, float]) -> str:
    top1 = "" if found[2] is None else f"top-1 {found[2]:.3f}, "
    return f"mean T {found[1]:.2f}, {top1}{found[3] * 1e3:.1f} ms per image"


if __name__ == "__main__":
    main()
