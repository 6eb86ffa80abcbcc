"""``spikeport bench``: the backends, the source network and other tools, interleaved."""

import argparse
import json
import shlex
from typing import Any

import torch
from torch import Tensor

from spikeport.calibration.recipes import RECIPES
from spikeport.convert import KINDS, ConversionError
from spikeport.convert.files import write_text
from spikeport.convert.integers.settings import BITS
from spikeport.report.sweeping.sweep import sweep
from spikeport.scripts.bench import memory as bench_memory
from spikeport.scripts.bench import neurons as bench_neurons
from spikeport.scripts.bench import table as bench_table
from spikeport.scripts.bench.device import DEVICES, device_named
from spikeport.scripts.bench.runs import (
    INTEGERS,
    OURS,
    Contender,
    contender,
    interleaved,
    names,
    ours,
)
from spikeport.scripts.bench.setup import CALIBRATION_BATCHES, TimedNetwork, machine, timed_network
from spikeport.scripts.options import positive, timestep_list
from spikeport.scripts.peers import PEERS, Peer, find


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's description and options."""
    parser.description = (
        "Time the source network, Spikeport's backends and other tools on the same "
        "network, images and thresholds, in one process, in turns; on a GPU also the neuron "
        "kernels by themselves."
    )
    parser.set_defaults(run=run)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="as for convert")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="default: cpu")
    parser.add_argument("--checkpoint", metavar="F", default="random", help="default: random")
    parser.add_argument("-T", "--timesteps", type=timestep_list, default=(32,), metavar="T,T,…")
    parser.add_argument("--neuron", choices=sorted(KINDS), default="if")
    any_T = sorted(name for name, recipe in RECIPES.items() if not recipe.for_one_T)
    parser.add_argument("--recipe", choices=any_T, default="fast", help="default: fast")
    parser.add_argument(
        "--bits",
        type=int,
        choices=BITS,
        metavar="N",
        help="also the network in whole numbers, with weights of N bits (2 to 8)",
    )
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N")
    parser.add_argument("--size", type=positive, default=224, help="pixels (default: 224)")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of images, some to calibrate on, others to time (default: random numbers)",
    )
    _add_run_options(parser)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        choices=PEERS,
        help="another tool, in its quickest mode on the device (found by trial); may be repeated; "
        "pip install 'spikeport[compare]'",
    )
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        metavar="NAME,…",
        help=f"of Spikeport's own, only these: {', '.join(OURS)}",
    )
    parser.add_argument("--repeats", type=positive, default=3, metavar="N")
    parser.add_argument(
        "--budget",
        type=float,
        default=600.0,
        metavar="S",
        help="what takes longer than S seconds is run once (default: 600)",
    )
    parser.add_argument(
        "--memory",
        type=timestep_list,
        default=(),
        metavar="T,T,…",
        help="also the peak memory of every contender at these T, each in a process of its own; "
        "on a CPU",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="default: torch's")
    parser.add_argument("--json", metavar="F", help="write the numbers to this file")


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """Convert, time, print."""
    _check(options)
    device = device_named(options.device)
    options.against = list(dict.fromkeys(options.against))
    peers = {name: find(name, device) for name in options.against}
    if peers and options.neuron != "if":
        raise ConversionError("--against: other tools simulate plain IF neurons; use --neuron if")
    if options.threads:
        torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"machine": machine(device), "options": _described(options)}
    report["models"] = []
    print(bench_table.head(report["machine"], report["options"]), flush=True)
    if options.device == "cuda":
        copy = report["machine"]["copy_bytes_per_second"]
        report["neurons"] = bench_neurons.measure(device, copy, peers)
        print(bench_table.neuron_lines(report["neurons"]), flush=True)
    for name in options.models:
        what = timed_network(name, options, device)
        report["models"].append(_model(what, peers, options, report["machine"]))
        if options.json:  # after each model: a long run that ends early leaves something
            write_text(options.json, json.dumps(report, indent=1))


def _check(options: argparse.Namespace) -> None:
    """Raise ConversionError for what the device has not."""
    possible = ours(options.device)
    unknown = set(options.only or ()) - set(possible)
    if unknown:
        raise ConversionError(f"--only {min(unknown)}: expected some of {', '.join(possible)}")
    if options.memory and options.device != "cpu":
        raise ConversionError("--memory: measures the memory of the CPU; leave --device out")


def _described(options: argparse.Namespace) -> dict[str, Any]:
    keys = ["device", "neuron", "batch_size", "size", "checkpoint", "recipe", "data"]
    keys += ["repeats", "budget", "bits"]
    images = CALIBRATION_BATCHES * min(options.batch_size, 4)
    on = "images of --data" if options.data else "images of random numbers"
    return {key: getattr(options, key) for key in keys} | {
        "command": _command(options),
        "calibrated_on": f"up to {images} {on}, none of which is timed",
    }


def _command(options: argparse.Namespace) -> str:
    """The command line with what was given; what has its default is left out."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    words = ["spikeport", "bench", *options.models]
    for action in parser._actions[1:]:
        value = getattr(options, action.dest, None)
        if not action.option_strings or value == action.default or action.dest == "json":
            continue
        repeated = isinstance(action, argparse._AppendAction)
        for each in (value or []) if repeated else [value]:
            joined = ",".join(map(str, each)) if isinstance(each, (tuple, list)) else str(each)
            words += [action.option_strings[0], joined]
    return shlex.join(words)


def _model(
    what: TimedNetwork, peers: dict[str, Peer], options: argparse.Namespace, host: dict[str, Any]
) -> dict[str, Any]:
    contenders = [
        contender(name, what, peers, max(options.timesteps))
        for name in names(options.only, options.against, options.device, options.bits is not None)
    ]
    operations = _operations(what, options.timesteps)
    found: dict[str, Any] = {
        "model": what.name,
        "bits": options.bits,
        "neurons": operations["neurons"],
        "macs_per_image": operations["source_macs"],
        "peers": {each.name: each.notes for each in contenders if each.name in peers},
        "rows": [],
        "memory": [],
    }
    print(bench_table.model_notes(found), flush=True)
    for timesteps in options.timesteps:
        row = _row(contenders, timesteps, options, what.images.device)
        counted = operations["at"][timesteps]
        _add_operations(row, counted, options, host)
        found["rows"].append(row)
        print(bench_table.row_lines(row), flush=True)
    if options.memory:
        found["memory"] = bench_memory.measure(what, contenders, options.memory)
        print(bench_table.memory_lines(found["memory"]), flush=True)
    return found


def _operations(what: TimedNetwork, timesteps: tuple[int, ...]) -> dict[str, Any]:
    """Spikes and synaptic operations of the very images that are timed, counted by a sweep."""
    what.network.backend = "auto"
    curve = sweep(what.network, [what.images], timesteps)
    return {
        "neurons": curve.info["neurons"],
        "source_macs": curve.info["source_macs"],
        "at": {row["timesteps"]: row for row in curve.rows},
    }


def _row(
    contenders: list[Contender],
    timesteps: int,
    options: argparse.Namespace,
    device: torch.device,
) -> dict[str, Any]:
    times, outputs = interleaved(contenders, timesteps, options, device)
    base = next((name for name in (options.device, "torch", *times) if name in times), "")
    reference = outputs.get("torch", outputs.get(options.device))
    for name, found in times.items():
        found["ratio"] = found["seconds"] / times[base]["seconds"]
        floats = times.get(options.device) if name == INTEGERS else None
        found["as_fast"] = floats["seconds"] / found["seconds"] if floats else None
        found |= _compared(outputs[name], reference, name)
    return {"timesteps": timesteps, "repeats": options.repeats, "base": base, "contenders": times}


def _compared(output: Tensor, reference: Tensor | None, name: str) -> dict[str, Any]:
    """Distance of an output from our torch backend's (where that does not run: our other one's)."""
    if reference is None or reference is output or name == "source":
        return {"agreement": None, "relative_difference": None}
    return {
        "agreement": float((output.argmax(1) == reference.argmax(1)).float().mean()),
        "relative_difference": float((output - reference).norm() / reference.norm()),
    }


def _add_operations(
    row: dict[str, Any],
    counted: dict[str, Any],
    options: argparse.Namespace,
    host: dict[str, Any],
) -> None:
    """Density, operations, and the rate at which each contender got through them.

    What a dense simulator computes beyond them is its own affair: the work is the same.
    """
    batch = options.batch_size
    row["density"] = counted["spikes_per_neuron"] / row["timesteps"]
    row["synaptic_operations"] = counted["acs"] * batch
    row["multiply_accumulates"] = counted["macs"] * batch  # of layers that read analog values
    for name, found in row["contenders"].items():
        kind = "peak_short_adds" if name == INTEGERS else "peak_adds"
        peak = host[f"{kind}_per_thread"] if options.device == "cpu" else None
        rate = None if name == "source" else row["synaptic_operations"] / found["seconds"]
        found["operations_per_second"] = rate
        found["of_peak"] = rate / (peak * host["threads"]) if rate and peak else None
        if options.device == "cuda":
            found["images_per_second"] = batch / found["seconds"]
