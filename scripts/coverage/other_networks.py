"""The page about ``networks``: ``python -m spikeport.scripts.coverage.other_networks``."""

import argparse
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from spikeport.convert.errors import ConversionError
from spikeport.convert.files import write_text
from spikeport.scripts.coverage.measure import settle
from spikeport.scripts.coverage.networks import KINDS
from spikeport.scripts.coverage.page import table
from spikeport.scripts.coverage.row import HEADS, MEANING, measured

PAGE = """# Networks that are in no registry

Detectors, segmenters, networks on clips, sound, sequences, graphs and points, and quantised ones,
written as people write them, with random weights. This page is written by
`python -m spikeport.scripts.coverage.other_networks`; a test runs every verb (each backend,
`anytime`, `sweep`, `cost`, `inspect`, the report, saving and loading, copies, fine-tuning, early
exit) on each of them.

{tables}

{meaning}

The error of a quantised network is that of time: it is 0 where the levels of a layer are those of T
timesteps and its currents are even, and at a large T it is that of the rounding to levels, which
spikes do not repeat.

Detectors end at their heads here. Anchors, non-maximum suppression and whatever else depends on the
numbers in a tensor have no spiking form: convert the part before them.
"""


def made(kind: str, name: str) -> tuple[nn.Module, Any]:
    """A network in eval mode and a batch, the same in every call."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.ao's names
        torch.manual_seed(0)
        model, x = KINDS[kind][name]()
        return settle(model, x), x


def _lines(kind: str) -> list[list[str]]:
    lines = []
    for name in tqdm(KINDS[kind], desc=kind, leave=False):
        model, x = made(kind, name)
        try:
            cells = measured(model, x, x[:2].flip(0))
        except ConversionError as refused:
            cells = [f"refused: {' '.join(str(refused).split())[:200]}", *[""] * (len(HEADS) - 1)]
        lines.append([name, *cells])
    return lines


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=Path("docs/coverage_others.md"))
    options = parser.parse_args()
    parts = [
        f"## {kind.capitalize()}\n\n{table(['network', *HEADS], _lines(kind))}" for kind in KINDS
    ]
    write_text(options.page, PAGE.format(tables="\n\n".join(parts), meaning=MEANING))


if __name__ == "__main__":
    main()
