"""Writes what the check measured into docs/gpu.md, in the place of what stands there."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeport.convert.files import write_text
from spikeport.scripts.gpu_check.table import cell

HEADING = "## Measured on a GPU\n"
SECTION = re.compile(re.escape(HEADING) + r".*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
INTRODUCTION = """
Made by these two commands, the first of which took {seconds:.0f} s; no number is typed by hand.

    python -m spikeport.scripts.gpu_check -o gpu.json
    python -m spikeport.scripts.gpu_check --page gpu.json

{gpu}; torch {torch}, CUDA {cuda}; {packages}.
"""
KERNELS = """
### Kernels

A copy moves {copy:.0f} GB/s. Bytes are those of all arrays of a launch, each once.
"""
PRODUCTS = """
### Convolutions of spikes and int8 weights

Milliseconds for {images} images. `float` and `channels last` take all bits of the operands, as an
integer network does; `int8` is the product of integers on unfolded patches, which a network takes
where it is the quicker one. *Off by*: the largest distance of float sums from the whole numbers
that they stand for, which the neurons round away.
"""
NETWORKS = """
### Networks

Random weights, {size}×{size} pixels, IF neurons (signed where there is no ReLU), images of random
numbers. Images per second; beside them how the output differs from torch's on the same GPU, of
which integer networks allow nothing. SpikingJelly: {spikingjelly}.
"""


def write(report: dict[str, Any], page: Path) -> None:
    """Put a report into a page.

    Args:
        report: JSON of the check.
        page: has a section with the heading "Measured on a GPU", whose text is replaced.

    Raises:
        ValueError: the page has no such section.
    """
    before = page.read_text("utf-8")
    after, places = SECTION.subn(lambda _: text(report), before)
    if places != 1:
        raise ValueError(f"{page} has {places} sections '{HEADING.strip()}'; expected one")
    write_text(page, after)


def text(report: dict[str, Any]) -> str:
    """The section, with its heading."""
    sections, host = report["sections"], report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in host["packages"].items())
    parts = [HEADING]
    parts.append(
        INTRODUCTION.format(
            seconds=report["seconds"],
            gpu=sections.get("kernels", {}).get("gpu") or "A GPU without a name",
            torch=host["torch"],
            cuda=host["cuda"],
            packages=packages or "no other packages",
        )
    )
    parts += [_ended(name, found) for name, found in sections.items() if _short(found)]
    for name, part in _PARTS.items():
        if name in sections:
            parts += part(sections[name])
    return "".join(parts) + "\n"


def _short(found: dict[str, Any]) -> bool:
    return found["status"] != "done" or "left_out" in found or "short_of_time" in found


def _ended(name: str, found: dict[str, Any]) -> str:
    """A line about a section that has not done all it should."""
    why = found.get("left_out") or found.get("error") or "it ran out of time"
    return f"\n- `{name}` ({found['status']}): {str(why).splitlines()[0]}\n"


def _tests(found: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{n} {kind.lower()}" for kind, n in found.get("outcomes", {}).items())
    if not counts:
        return []
    errors = found.get("errors")
    more = f"; memcheck found {errors} errors" if errors is not None else ""
    failed = "".join(f"\n- failed: `{name}`" for name in found.get("failed", []))
    return [f"\n`{found['command']}`: {counts}{more}.{failed}\n"]


def _kernels(found: dict[str, Any]) -> list[str]:
    rows = [
        [
            row["kernel"],
            row["dtype"],
            f"{1e3 * row['seconds']:.3g}",
            f"{row['bytes_per_second'] / 1e9:.4g}",
            f"{row['of_copy']:.0%}",
        ]
        for row in found.get("rows", [])
    ]
    if not rows:
        return []
    heads = ["kernel", "currents", "ms", "GB/s", "of a copy"]
    return [KERNELS.format(copy=found["copy_bytes_per_second"] / 1e9), _table(heads, rows)]


def _products(found: dict[str, Any]) -> list[str]:
    rows = found.get("rows", [])
    if not rows:
        return []
    ways = list(rows[0]["seconds"])
    lines = [
        [_layer(row["shape"])]
        + [f"{1e3 * row['seconds'][way]:.3g}" for way in ways]
        + [f"{row['float_off_by']:.2g}", "yes" if row["int8_equal"] else "**no**"]
        for row in rows
    ]
    heads = ["layer", *ways, "off by", "int8 exact"]
    return [PRODUCTS.format(images=rows[0]["images"]), _table(heads, lines)]


def _layer(shape: Sequence[int]) -> str:
    inputs, outputs, size, kernel = shape
    return f"{inputs} → {outputs}, {kernel}×{kernel}, {size}×{size}"


def _networks(found: dict[str, Any]) -> list[str]:
    models = [model for model in found.get("models", []) if model["rows"] or "error" in model]
    if not models:
        return []
    parts = [NETWORKS.format(size=found["size"], spikingjelly=found["spikingjelly"])]
    contenders = [list(row["contenders"]) for model in models for row in model["rows"]]
    names = list(dict.fromkeys(name for row in contenders for name in row))
    lines = []
    for model in models:
        for row in model["rows"]:
            made = [cell(row["contenders"][n]) if n in row["contenders"] else "" for n in names]
            lines.append([model["model"], model["form"], str(row["timesteps"]), *made])
    if lines:
        parts.append(_table(["network", "numbers", "T", *names], lines))
    for key, what in (("error", "failed"), ("no_spikingjelly", "not for SpikingJelly")):
        said = [f"\n- {m['model']}, {m['form']}, {what}: {m[key]}\n" for m in models if key in m]
        parts += said
    return parts


def _training(found: dict[str, Any]) -> list[str]:
    ways = found.get("seconds_of_step", {})
    if "gradients_off_by" not in found:
        return []
    steps = ", ".join(f"{way} {1e3 * seconds:.4g} ms" for way, seconds in ways.items())
    return [
        f"\n### A step of fine-tuning\n\n{found['model']}, batch {found['batch']}, T = "
        f"{found['timesteps']}: {steps or 'not timed'}. Gradients differ from a CPU's by "
        f"{found['gradients_off_by']:.2g}, relative.\n"
    ]


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


_PARTS = {
    "tests": _tests,
    "memcheck": _tests,
    "kernels": _kernels,
    "products": _products,
    "networks": _networks,
    "training": _training,
}
