"""Writes docs/coverage.md and the CSV beside it from the results of a coverage sweep."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from spikeport.scripts.coverage_measure import EQUAL, NEURON, TIMESTEPS
from spikeport.scripts.coverage_models import CLASSES, CLASSIFIER, SEGMENTER, TIMM

Row = dict[str, Any]
FALLS = 0.7  # to this or less with four times the timesteps; 1/T would be 0.25
SETTLED = 1e-3  # an error so small that rounding decides what it does next

PAGE = """# Coverage

Which models of timm and torchvision convert in one call. This page and `coverage.csv`, which has a
line for each model, are written by `python -m spikeport.scripts.coverage page` from the results of
`python -m spikeport.scripts.coverage run`; no number in it is typed by hand.

## How to read it

Every model has random weights ({classes} classes; constant parameters drawn at random, so that no
gamma of 0 hides a branch; batch-norm statistics of the images) and the smallest images that it
takes, from 64×64 up. *ReLU family* is read off the operations of one forward pass: rectifiers and
max-pools, linear operations, and sigmoid or hard-sigmoid gates with their products. All other
models are *others*: smooth activations, layer norms, attention.

- **run**: reached by the sweep ({limit}); a sweep that was stopped has not reached all.
- **converted**: traced, every operation has a spiking form.
- **equal**: the converted graph with its activations put back gives the source model's output to
  {equal:g} of its largest magnitude, for one image and for three. Where float32 rounding adds up to
  more than that, in float64.
- **replaced**: every rectifier is a neuron, and every weighted layer behind one receives spikes.
- **falling**: the output's error at T = {times} falls, by at least {falls:.0%} each time, unless it
  is below {settled:g}; out of those that were *simulated* (up to {macs:.0f} M multiply-accumulates
  per image; two images, neuron `{neuron}`, thresholds at the largest activation).
- **error**: the median of it, in units of the distance between the two images' outputs.
- **spike-driven**: the share of multiply-accumulates that become accumulates, in the median model.
  Attention's two products multiply analog values and are the rest; layers on the constant input are
  computed once and not counted.

## Groups

{groups}

## Families

{families}

## What fails

{failures}

## Gates

A squeeze-excite gate is evaluated on the running mean of its pooled input. Its product with a
stream of spikes is a difference too, exact in the limit, and the layer behind it receives the
spikes of signed neurons of its own, so that every synaptic operation stays an accumulate of an
unscaled weight. A product that passes the stream's spikes on instead, each times the gate of its
channel at that timestep, needs no such neurons, but its spikes come in as many sizes as there are
channels and images: a multiplication per synapse, and no packed spikes for the engine. It also
never corrects what the first timesteps scaled wrongly.

## Adding support for an operation

An unsupported operation is refused with its name and the path of its module. One call says how it
acts in time:

```python
import torch
from torch import nn

import spikeport as sp


class MyGate(nn.Module):
    def forward(self, x):
        return x * torch.special.expit(x)


class MyClampedReLU(nn.Module):
    def __init__(self, top=6.0):
        super().__init__()
        self.top = top

    def forward(self, x):
        return torch.min(torch.max(x, x.new_zeros(())), x.new_tensor(self.top))


sp.register_op(torch.cumsum, "linear")  # commutes with the mean over time: acts on each timestep
sp.register_op("logcumsumexp", "difference")  # does not: acts on the running mean
sp.register_op(MyGate, "difference")  # a module, called as a whole
sp.register_op(MyClampedReLU, lambda module: nn.Hardtanh(0, module.top))  # made of known layers
```

## Fine-tuned weights

`sp.load_source(snn, model)` puts the weights of a source network that was trained on into its
conversion, also one that was saved and loaded: batch norms are folded and branches merged as they
were, thresholds stay.
"""
HEADS = ["models", "run", "converted", "equal", "replaced", "simulated", "falling"]
ERRORS = [f"error at T={time}" for time in TIMESTEPS]
FIELDS = (
    "name library family group parameters pixels converted equal difference exact_difference "
    "replaced neurons macs share falling convert_seconds simulate_seconds reason"
)


def write(known: dict[str, Row], page: Path) -> None:
    """The page, and its CSV beside it.

    Args:
        known: the results by model.
        page: a Markdown file.
    """
    rows = [judged(row) for row in known.values()]
    largest = max((row["parameters"] for row in rows if row["run"]), default=0)
    simulated = max((row["macs"] for row in rows if row["simulated"]), default=0)
    page.write_text(
        PAGE.format(
            classes=CLASSES,
            limit=f"the largest has {largest / 1e6:.0f} M parameters",
            equal=EQUAL,
            times=", ".join(map(str, TIMESTEPS)),
            falls=1 - FALLS,
            settled=SETTLED,
            macs=simulated / 1e6,
            neuron=NEURON,
            groups=_groups(rows),
            families=_families(rows),
            failures=_failures(rows),
        ),
        encoding="utf-8",
    )
    with open(page.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        fields = FIELDS.split()
        table = csv.writer(file)
        table.writerow(fields + ERRORS)
        for row in rows:
            errors = [f"{error:.4g}" for error in row.get("errors", [])]
            table.writerow([_cell(row.get(field)) for field in fields] + errors)


def judged(row: Row) -> Row:
    """A model's results with verdicts: run, converted, equal, replaced, simulated, falling."""
    run = "convert_seconds" in row
    converted = run and not row["convert_error"]
    exact: Any = row.get("exact_difference", row.get("difference", 1.0))
    simulated = "simulate_seconds" in row
    reasons = [row.get(f"{step}_error", "") for step in ("survey", "convert", "simulate")]
    verdicts = {
        "run": run,
        "converted": converted,
        "equal": converted and exact <= EQUAL,
        "replaced": converted and not row["left"],
        "simulated": simulated and "errors" in row,
        "falling": simulated and "errors" in row and falls(row["errors"]),
    }
    reason = next(filter(None, reasons), "")
    if not reason and converted:
        reason = _objection(verdicts, row, exact)
    return {"parameters": 0, "macs": 0, "group": ""} | row | verdicts | {"reason": reason}


def falls(errors: list[float]) -> bool:
    """Whether each error is well below the one before, or as small as rounding."""
    pairs = zip(errors, errors[1:], strict=False)
    return all(after <= max(FALLS * before, SETTLED) for before, after in pairs)


def _objection(verdicts: dict[str, bool], row: Row, difference: float) -> str:
    if not verdicts["equal"]:
        return f"differs by {difference:.1e}"
    if not verdicts["replaced"]:
        return f"{len(row['left'])} left, the first is {row['left'][0]}"
    if verdicts["simulated"] and not verdicts["falling"]:
        return "errors " + ", ".join(f"{error:.2g}" for error in row["errors"])
    return ""


def _groups(rows: list[Row]) -> str:
    kinds: dict[str, Callable[[Row], bool]] = {
        "timm, ReLU family": lambda row: row["library"] == TIMM and row["group"] == "relu",
        "timm, others": lambda row: row["library"] == TIMM and row["group"] != "relu",
        "torchvision, classifiers": lambda row: row["library"] == CLASSIFIER,
        "torchvision, segmenters": lambda row: row["library"] == SEGMENTER,
    }
    lines = [[name, *_summary(filter(kind, rows))] for name, kind in kinds.items()]
    return _table(["", *HEADS, *ERRORS, "spike-driven"], lines)


def _families(rows: list[Row]) -> str:
    families: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        library = TIMM if row["library"] == TIMM else "torchvision"
        families.setdefault((library, row["family"]), []).append(row)
    ordered = sorted(families)
    lines = [[f"{family} ({lib})", *_summary(families[lib, family])] for lib, family in ordered]
    return _table(["family", *HEADS, *ERRORS, "spike-driven"], lines)


def _summary(rows: Iterable[Row]) -> list[str]:
    """Counts and medians."""
    rows = list(rows)
    verdicts = [str(sum(row[head] for row in rows)) for head in HEADS[1:]]
    simulated = [row["errors"] for row in rows if row["simulated"]]
    errors = [f"{median(column):.2g}" for column in zip(*simulated, strict=True)] or [""] * 3
    shares = [row["share"] for row in rows if row["converted"]]
    return [str(len(rows)), *verdicts, *errors, f"{median(shares):.1%}" if shares else ""]


def _failures(rows: list[Row]) -> str:
    failed = [[row["name"], " ".join(row["reason"].split())[:300]] for row in rows if row["reason"]]
    return _table(["model", "reason"], failed) if failed else "Nothing.\n"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else " ".join(str(value).split())


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
