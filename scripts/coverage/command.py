"""A sweep over timm's and torchvision's registries for models that convert, and its page.

Run as ``python -m spikeport.scripts.coverage.command run`` and then ``… page``. Each model goes
through three steps, each in a process of its own, so that a hang or a crash costs one model; each
result is one line appended to a file, and what is there is not done again:

- survey: size, operations and group, on the meta device;
- convert: traced, equal to the source model, every activation replaced, share of spikes;
- simulate: the output's error after 8, 32 and 128 timesteps.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spikeport.scripts.coverage import page as coverage_page
from spikeport.scripts.coverage.models import Entry, entries
from spikeport.scripts.coverage.process import STEPS, Nursery
from spikeport.scripts.options import positive

RESULTS = "build/coverage.jsonl"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a sweep, or write the page of its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sweep = commands.add_parser("run", help="go over the models; continues where it stopped")
    sweep.set_defaults(run=run)
    sweep.add_argument("--models", nargs="+", default=["*"], metavar="GLOB", help="default: all")
    sweep.add_argument("--group", choices=("relu", "other", "all"), default="all")
    sweep.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    sweep.add_argument("--parameters", type=float, default=100, metavar="M", help="most, millions")
    sweep.add_argument(
        "--macs",
        type=float,
        default=500,
        metavar="M",
        help="simulate models of up to M million multiply-accumulates per image (default: 500)",
    )
    sweep.add_argument("--time-limit", type=positive, default=300, metavar="SECONDS")
    sweep.add_argument("--memory-limit", type=float, default=5, metavar="GIB", help="of a process")
    sweep.add_argument("--again", action="store_true", help="repeat what failed")
    page = commands.add_parser("page", help="write the CSV and the page")
    page.set_defaults(run=lambda options: coverage_page.write(read(options.results), options.page))
    page.add_argument("--page", type=Path, default=Path("docs/coverage.md"))
    for command in (sweep, page):
        command.add_argument("--results", type=Path, default=Path(RESULTS), metavar="JSONL")
    options = parser.parse_args(arguments)
    options.run(options)


def run(options: argparse.Namespace) -> None:
    """One step after the other over all models, smallest first after the survey."""
    options.results.parent.mkdir(parents=True, exist_ok=True)
    nursery = Nursery(options.time_limit, options.memory_limit)
    for step in STEPS:
        if step not in options.steps:
            continue
        known = read(options.results)
        todo = [entry for entry in entries(options.models) if _due(known, entry, step, options)]
        todo.sort(key=lambda entry: known.get(entry.name, {}).get("parameters", 0))
        bar = tqdm(todo, desc=step, unit="model", mininterval=1)
        for entry in bar:
            bar.set_postfix_str(entry.name)
            found = nursery.run(step, entry, known.get(entry.name, {}))
            line = {"name": entry.name, "library": entry.library, "family": entry.family, **found}
            with open(options.results, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Facts about each model: its lines, later ones over earlier ones."""
    known: dict[str, dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        record = json.loads(line)
        known.setdefault(record["name"], {}).update(record)
    return known


def _due(
    known: dict[str, dict[str, Any]], entry: Entry, step: str, options: argparse.Namespace
) -> bool:
    row = known.get(entry.name, {})
    if f"{step}_seconds" in row and not (options.again and row.get(f"{step}_error")):
        return False
    if step == "survey":
        return True
    wanted = options.group in ("all", row.get("group"))
    small = row.get("parameters", 0) <= options.parameters * 1e6
    if step == "simulate":
        converted = not row.get("convert_error", "none")
        small = small and converted and row["macs"] <= options.macs * 1e6
    return wanted and small and not row.get("survey_error", "none")


if __name__ == "__main__":
    main()
