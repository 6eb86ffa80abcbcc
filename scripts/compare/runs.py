"""Runs the cells of `compare_methods` that have no result yet."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from spikeport.convert import ConversionError
from spikeport.convert.neurons import spelled
from spikeport.report.sweeping.curve import Curve
from spikeport.report.sweeping.sweep import sweep
from spikeport.scripts.compare.cells import Run
from spikeport.scripts.compare.images import Remembered, Samples, Watched
from spikeport.scripts.compare.results import FAILED, OK, REFUSED, Results, Row
from spikeport.zoo.pipeline import to_snn

SECONDS_BETWEEN = 1 if sys.stderr.isatty() else 60  # two states of the bar: a log keeps them all


@dataclass
class Comparison:
    """The network and the images that all cells have in common.

    Attributes:
        model: the source network, in eval mode.
        calibration: images to calibrate on.
        evaluation: images to evaluate on.
        seed: of the random numbers that a calibration may draw.
        facts: columns that say where the numbers come from.
    """

    model: nn.Module
    calibration: Samples
    evaluation: Samples
    seed: int
    facts: dict[str, Any]


def missing(run: Run, subject: Comparison, found: dict[str, Row], retry: bool) -> Run:
    """The part of a run that has no result yet; with ``retry`` a failure is none."""

    def done(timesteps: int) -> bool:
        row = found.get(run.key(subject.facts, timesteps))
        return row is not None and not (retry and row["status"] == FAILED)

    return replace(run, timesteps=tuple(T for T in run.timesteps if not done(T)))


def run_all(
    runs: Sequence[Run],
    subject: Comparison,
    results: Results,
    retry: bool,
    recorded: Callable[[], None],
) -> None:
    """Runs what is missing.

    Args:
        runs: all that are wanted.
        subject: see there.
        results: where each run is recorded as soon as it is through, or has failed.
        retry: run again what failed before.
        recorded: called after each.
    """
    found = results.by_key()
    left = [missing(run, subject, found, retry) for run in runs]
    cells = sum(len(run.timesteps) for run in runs)
    done = cells - sum(len(run.timesteps) for run in left)
    source = Remembered(subject.model)
    with tqdm(total=cells, initial=done, unit="cell", smoothing=0) as bar:
        for run in left:
            if run.timesteps:
                rows = _rows(run, subject, source, bar)
                results.append(rows)
                recorded()
                bar.write("\n".join(map(_line, rows)))
                bar.update(len(rows))


def _rows(run: Run, subject: Comparison, source: nn.Module, bar: Any) -> list[Row]:
    try:
        measured = _measure(run, subject, source, bar)
    except Exception as error:  # whatever a recipe stumbles over, the others go on
        # A pass that says which neurons it is not for is no failure of a table of all neurons.
        expected = run.foreign and isinstance(error, ConversionError)
        text = f"{type(error).__name__}: {error}"
        failed = {"status": REFUSED if expected else FAILED, "error": text}
        measured = [failed | {"T": T} for T in run.timesteps]
    same = {
        **subject.facts,
        "recipe": run.recipe,
        "neuron": spelled(run.neuron),
        "passes": run.passes,
        "neuron_model": repr(run.neuron),
        "images": subject.evaluation.images,
        "calibration_images": subject.calibration.images,
    }
    return [same | row | {"key": run.key(subject.facts, row["T"])} for row in measured]


def _measure(run: Run, subject: Comparison, source: nn.Module, bar: Any) -> list[Row]:
    def say(what: str) -> Callable[[str], None]:
        shown = time.monotonic()

        def tell(how_far: str) -> None:
            nonlocal shown
            late = time.monotonic() > shown + SECONDS_BETWEEN
            shown = time.monotonic() if late else shown
            bar.set_postfix_str(f"{run}: {what} {how_far}", refresh=late)

        return tell

    torch.manual_seed(subject.seed)  # a cell does not depend on the cells before it
    bar.set_postfix_str(f"{run}: converting")
    start = time.perf_counter()
    network = to_snn(
        subject.model,
        Watched(subject.calibration, say("calibrating,")),
        run.neuron,
        run.recipe,
        run.timesteps[-1],
        task="classification",  # all that is compared here
        progress=False,
    )
    calibrated = time.perf_counter()
    images = Watched(subject.evaluation, say("simulating,"))
    curve = sweep(network, images, run.timesteps, source, progress=False)
    if curve.rows[0]["agreement"] is None:
        raise ConversionError("methods are compared on class scores, [B, K]; pass a classifier")
    seconds = (calibrated - start, time.perf_counter() - calibrated)
    return [_measures(row, curve, seconds) for row in curve.rows]


def _measures(row: dict[str, Any], curve: Curve, seconds: tuple[float, float]) -> Row:
    info = curve.info
    known = row["top1"] is not None
    return {
        **row,
        "status": OK,
        "T": row["timesteps"],
        "latency": info["latency"],
        "readout": info["readout"],
        "levels": "/".join(map(str, info["levels_per_timestep"])),
        "drop_points": 100 * (info["source_top1"] - row["top1"]) if known else None,
        "acs_per_source_mac": row["acs"] / info["source_macs"],
        "calibration_seconds": seconds[0],
        "simulation_seconds": seconds[1],
        "simulated_T": curve.rows[-1]["timesteps"],
        "calibrated_for_T": info.get("calibrated_for_timesteps"),
        "source_top1": info["source_top1"],
        "source_macs": info["source_macs"],
        "source_energy_uj": info["source_energy_uj"],
    }


def _line(row: Row) -> str:
    name = f"{row['recipe']}, {row['neuron']}, T={row['T']}"
    if row["status"] != OK:
        return f"{name}: {row['status']}: {row['error']}"
    drop = row["drop_points"]
    lost = "" if drop is None else f"drop {drop:.2f} points, "
    return (
        f"{name}: {lost}agreement {row['agreement']:.3f}, {row['spikes_per_neuron']:.2f} spikes "
        f"per neuron, {row['calibration_seconds']:.0f} s + {row['simulation_seconds']:.0f} s"
    )
