"""Writes docs/performance.md and its plots from the JSON of the benchmarks.

Run as ``python -m spikeport.scripts.experiments.performance_page BENCH.json… KERNELS.json``.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeport.convert.files import write_text
from spikeport.scripts.experiments.performance_plots import (
    plot_density,
    plot_roofline,
    plot_time,
    roof,
    shape_name,
)

INTRODUCTION = """# Performance

How fast converted networks run on a CPU. This page is written by
`python -m spikeport.scripts.experiments.performance_page`; no number in it is typed by hand.

Seconds are medians of interleaved runs in one process. All simulators run the same network (batch
norms folded), the same thresholds, initial potentials, images and T; none of them computes the
first layer's constant current more than once. A synaptic operation is one weight that one spike
meets, counted from the spikes that were simulated; it is the same work for every simulator, so a
dense one that also multiplies by zeros is charged for the useful part only. "Adders" is the rate of
vector additions on data in the first-level cache, measured on this machine, times the threads.
"""
MEMORY = """
Peak memory is the largest resident set of a process that runs nothing else; "before" is what
interpreter, libraries, weights and images take of it.
"""
LAYERS = """## Single layers

A layer of IF neurons at batch {batch}, {timesteps} timesteps, {threads} thread(s), random spikes.
"Bytes" are those that have to move at least once: packed spikes in and out, weights in, potentials
out. The roof is the lower of the adders ({peak:.0f} Gadd/s) and those bytes at the speed of a copy
({copy:.0f} GB/s). "Dense" is torch's convolution and a loop over the neuron update.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the numbers, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", nargs="+", help="JSON of `spikeport bench --json`")
    parser.add_argument("kernels", help="JSON of kernel_benchmark --json --curves")
    parser.add_argument("-o", "--output", default="docs/performance.md")
    options = parser.parse_args(arguments)
    benches = [json.loads(Path(path).read_text("utf-8")) for path in options.bench]
    kernels = json.loads(Path(options.kernels).read_text("utf-8"))
    write(benches, kernels, Path(options.output))


def write(benches: list[dict[str, Any]], kernels: dict[str, Any], page: Path) -> None:
    """The page, and its plots beside it."""
    stem = page.with_suffix("")
    names = {key: Path(f"{stem}_{key}.png") for key in ("time", "density", "roofline")}
    plot_time(benches, kernels, names["time"])
    plot_density(kernels, names["density"])
    plot_roofline(kernels, names["roofline"])
    parts = [INTRODUCTION, "## Networks\n"]
    parts += [_bench(bench) for bench in benches]
    parts.append(_layers(kernels))
    parts.append(f"![time over timesteps]({names['time'].name})\n")
    parts.append("Dashed grey: proportional to T.\n")
    parts.append(f"![time over density]({names['density'].name})\n")
    parts.append(f"![roofline]({names['roofline'].name})\n")
    write_text(page, "\n".join(parts))


def _bench(bench: dict[str, Any]) -> str:
    """One run of `spikeport bench`."""
    host, given = bench["machine"], bench["options"]
    peak = host["peak_adds_per_thread"]
    adders = f", {peak / 1e9:.0f} Gadd/s per thread ({host['path']})" if peak else ""
    lines = [
        f"    {given['command']}\n",
        f"{host['cpu']}, {host['threads']} thread(s){adders}, torch {host['torch']}. Batch "
        f"{given['batch_size']}, {given['size']}×{given['size']}, neuron `{given['neuron']}`, "
        f"weights `{given['checkpoint']}`, thresholds by recipe `{given['recipe']}` on "
        f"{given['calibrated_on']}.\n",
    ]
    for model in bench["models"]:
        lines.append(f"### {model['model']}, {given['size']}×{given['size']}\n")
        lines += [_peer(name, notes) for name, notes in model["peers"].items()]
        lines.append(_table(HEADS, [line for row in model["rows"] for line in _lines(row)]))
        if model["memory"]:
            lines.append(MEMORY)
            lines.append(_table(MEMORY_HEADS, [_memory(row) for row in model["memory"]]))
    return "\n".join(lines)


HEADS = ["T", "density", "", "seconds", "ratio", "Gop/s", "of the adders", "output off by", "runs"]
MEMORY_HEADS = ["T", "", "peak MiB", "before MiB"]


def _peer(name: str, notes: dict[str, Any]) -> str:
    """Notes on how a peer was run."""
    tried = len(notes["trials"])
    differences = "".join(f"; {each}" for each in notes["differences"])
    return (
        f"{name} {notes['version']}: {notes['mode']}, {notes['chunk']} timestep(s) at once, the "
        f"quickest of {tried} settings tried{differences}.\n"
    )


def _lines(row: dict[str, Any]) -> list[list[str]]:
    """A line of the table for each contender at one T."""
    lines = []
    for name, found in row["contenders"].items():
        rate, share = found["operations_per_second"], found["of_peak"]
        off = found["relative_difference"]
        lines.append(
            [
                str(row["timesteps"]),
                f"{row['density']:.3f}",
                name,
                f"{found['seconds']:.3g}",
                f"{found['ratio']:.2f}",
                f"{rate / 1e9:.3g}" if rate else "",
                f"{share:.0%}" if share else "",
                f"{off:.1%}" if off is not None else "",
                str(found["runs"]),
            ]
        )
    return lines


def _memory(row: dict[str, Any]) -> list[str]:
    peak, before = f"{row['peak_mib']:.0f}", f"{row['before_mib']:.0f}"
    return [str(row["timesteps"]), row["name"], peak, before]


def _layers(kernels: dict[str, Any]) -> str:
    """The distance of every layer shape from the roof."""
    host = kernels["machine"]
    text = LAYERS.format(
        timesteps=kernels["rows"][0]["timesteps"],
        batch=kernels["rows"][0]["batch"],
        threads=round(kernels["peak_adds"] / host["peak_adds_per_thread"]) or 1,
        peak=kernels["peak_adds"] / 1e9,
        copy=host["copy_bytes_per_second"] / 1e9,
    )
    heads = ["layer", "density", "ms", "Gadd/s", "of the adders", "GB/s", "of the roof", "× dense"]
    lines = [
        [
            shape_name(row["shape"]),
            f"{row['density']:.3g}",
            f"{row['milliseconds']:.2f}",
            f"{row['adds_per_second'] / 1e9:.1f}",
            f"{row['of_peak']:.0%}",
            f"{row['bytes_per_second'] / 1e9:.2f}",
            f"{row['adds_per_second'] / roof(row, kernels):.0%}",
            f"{row['times_faster_than_dense']:.1f}",
        ]
        for row in kernels["rows"]
    ]
    return f"{text}\n    {kernels['command']}\n\n{_table(heads, lines)}"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


if __name__ == "__main__":
    main()
