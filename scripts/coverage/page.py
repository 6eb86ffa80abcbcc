"""Writes docs/coverage.md and the CSV beside it from the results of a coverage sweep."""

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from spikeport.convert.files import replacing, write_csv, write_text
from spikeport.scripts.coverage.measure import EQUAL, NEURON, TIMESTEPS
from spikeport.scripts.coverage.models import CLASSES, CLASSIFIER, SEGMENTER, TIMM

Row = dict[str, Any]
FALLS = 0.7  # to this or less with four times the timesteps; 1/T would be 0.25
SETTLED = 1e-3  # an error so small that rounding decides what it does next

PAGE = """# Coverage

Which models of timm and torchvision convert in one call, and how near they come to the source
model. Networks of Hugging Face have [a page of their own](coverage_hugging_face.md), and so have
[detectors, segmenters, networks on clips, sound, sequences and graphs](coverage_others.md). This
page and `coverage.csv`, which has a line for each model, are written from the results of a sweep;
no number in them is typed by hand. These commands go on where they stopped:

    python -m spikeport.scripts.coverage.command run --steps survey convert
    python -m spikeport.scripts.coverage.command run --steps convert --group relu \\
        --parameters 1400 --memory-limit 14.5
    python -m spikeport.scripts.coverage.command run --steps simulate --macs 60
    python -m spikeport.scripts.coverage.command page

They took {hours} hours on a machine that was busy with other things.

In short, of the models that were tried these convert: {short}.

## How to read it

Every model has random weights ({classes} classes; constant parameters drawn at random, so that no
gamma of 0 hides a branch; batch-norm statistics of the images) and the smallest images that it
takes, from 64×64 up. *ReLU family* is read off the operations of one forward pass: rectifiers and
max-pools, linear operations, and sigmoid or hard-sigmoid gates with their products. All other
models are *others*: smooth activations, layer norms, attention.

- **models**: all that the registry has; **small**: of these, with up to {small:.0f} M parameters,
  which is where the sweep ends unless `--parameters` says something else.
- **run**: reached by the sweep (the largest has {largest:.0f} M parameters). The others were not
  tried: they have more parameters, or the sweep was stopped before.
- **converted**: traced, every operation has a spiking form.
- **equal**: the converted graph with its activations put back gives the source model's output to
  {equal:g} of its largest magnitude, for one image and for three. Where float32 rounding adds up to
  more than that, in float64.
- **replaced**: every rectifier is a neuron, and every weighted layer behind one receives spikes.
- **simulated**: run as a spiking network, which takes long; only networks of up to {macs:.0f} M
  multiply-accumulates per image. Two images, neurons of up to {levels} spikes up and down per
  timestep, thresholds at the largest activation, the output decoded over all T timesteps.
- **falling**: of these, those whose output error at T = {times} falls, by at least {falls:.0%} each
  time, unless it is below {settled:g}.
- **error**: the median of it, in units of the distance between the two images' outputs. Where it is
  near 1 the output says nothing about the image yet, and hardly falls.
- **spike-driven**: the share of multiply-accumulates that become accumulates, in the median and in
  the worst model. Layers on the constant input are computed once and not counted.

## Groups

{groups}

## Families

{families}

## What fails

{failures}

Models that were not run are not in this list.

## What stays analog

Rectifiers and max pools pass spikes on. The operations below are evaluated on the running mean of
their input and emit the difference (a product only where both factors change in time); signed
neurons make spikes of what they emit before the next weighted layer. The numbers are those of the
converted models that contain them. `sp.inspect(snn, data)` lists them for one network.

{analog}

The worst shares of spike-driven operations are those of models whose weights are mixed for each
image (`CondConv`, whose convolutions stay analog as a whole) and of attention over many tokens,
whose two products multiply analog values.

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


# commutes with the mean over time: acts on each timestep; what comes out mixes spikes
sp.register_op(torch.trapezoid, "linear", spikes="mixed")
# does not: acts on the running mean; it multiplies nothing that is counted
sp.register_op("igammac", "difference", macs=lambda call: 0.0)
sp.register_op(MyGate, "difference", macs=lambda call: 0.0)  # a module, called as a whole
# made of known layers
sp.register_op(MyClampedReLU, instead=lambda module: nn.Hardtanh(0, module.top))
```

## Fine-tuned weights

`sp.load_source(snn, model)` puts the weights of a source network that was trained on into its
conversion, also one that was saved and loaded: batch norms are folded and branches merged as they
were, thresholds stay.
"""
SMALL = 100e6  # parameters: what the sweep runs unless it is told otherwise
HEADS = ["models", "small", "run", "converted", "equal", "replaced", "simulated", "falling"]
ERRORS = [f"error at T={time}" for time in TIMESTEPS]
SHARES = ["spike-driven, median", "worst"]
ANALOG = {  # by the names of aten's operations
    "gates": {"sigmoid", "hardsigmoid"},
    "smooth activations": {"gelu", "silu", "hardswish", "mish", "elu", "softplus", "tanh"},
    "normalisation": {"native_layer_norm", "native_group_norm", "linalg_vector_norm", "var"},
    "softmax": {"_softmax", "_safe_softmax"},
    "elementwise products": {"mul", "addcmul"},
    "matrix products": {"bmm"},
}
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
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(
        page,
        PAGE.format(
            classes=CLASSES,
            hours=_hours(rows),
            short=_short(rows),
            small=SMALL / 1e6,
            largest=largest / 1e6,
            equal=EQUAL,
            times=", ".join(map(str, TIMESTEPS)),
            falls=1 - FALLS,
            settled=SETTLED,
            macs=simulated / 1e6,
            levels=NEURON.max_up,
            groups=_groups(rows),
            families=_families(rows),
            failures=_failures(rows),
            analog=_analog(rows),
        ),
    )
    fields = FIELDS.split()
    with replacing(page.with_suffix(".csv")) as file:
        write_csv(
            file,
            fields + ERRORS,
            (
                {field: _cell(_told(row, field)) for field in fields}
                | dict(zip(ERRORS, (f"{e:.4g}" for e in row.get("errors", [])), strict=False))
                for row in rows
            ),
        )


def judged(row: Row) -> Row:
    """A model's results with verdicts: run, converted, equal, replaced, simulated, falling."""
    run = "convert_seconds" in row
    converted = run and not row["convert_error"]
    exact: Any = row.get("exact_difference", row.get("difference", 1.0))
    simulated = "simulate_seconds" in row
    reasons = [row.get(f"{step}_error", "") for step in ("survey", "convert", "simulate")]
    verdicts = {
        "small": row.get("parameters", 0) <= SMALL,
        "run": run,
        "converted": converted,
        "equal": converted and exact <= EQUAL,
        "replaced": converted and not row["left"],
        "simulated": simulated and "errors" in row,
        "falling": simulated and "errors" in row and falls(row["errors"]),
    }
    reason = next(filter(None, reasons), "")
    if "can't allocate memory" in reason:
        reason = "takes more memory than the sweep may (--memory-limit)"
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
        errors = ", ".join(f"{error:.2g}" for error in row["errors"])
        return f"the error falls too slowly: {errors} at T = {', '.join(map(str, TIMESTEPS))}"
    return ""


GROUPS: dict[str, Callable[[Row], bool]] = {
    "timm, ReLU family": lambda row: row["library"] == TIMM and row["group"] == "relu",
    "timm, others": lambda row: row["library"] == TIMM and row["group"] != "relu",
    "torchvision, classifiers": lambda row: row["library"] == CLASSIFIER,
    "torchvision, segmenters": lambda row: row["library"] == SEGMENTER,
}


def _short(rows: list[Row]) -> str:
    """The share of the models that came out right, of those that were run."""
    counts = []
    for name, kind in GROUPS.items():
        tried = [row for row in rows if kind(row) and row["run"]]
        right = sum(row["equal"] and row["replaced"] for row in tried)
        counts.append(f"{right} of {len(tried)} ({name})")
    return ", ".join(counts)


def _groups(rows: list[Row]) -> str:
    lines = [[name, *_summary(filter(kind, rows))] for name, kind in GROUPS.items()]
    return table(["", *HEADS, *ERRORS, *SHARES], lines)


def _families(rows: list[Row]) -> str:
    families: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        library = TIMM if row["library"] == TIMM else "torchvision"
        families.setdefault((library, row["family"]), []).append(row)
    ordered = sorted(families)
    lines = [[f"{family} ({lib})", *_summary(families[lib, family])] for lib, family in ordered]
    return table(["family", *HEADS, *ERRORS, *SHARES], lines)


def _summary(rows: Iterable[Row]) -> list[str]:
    """Counts and medians."""
    rows = list(rows)
    verdicts = [str(sum(row[head] for row in rows)) for head in HEADS[1:]]
    simulated = [row["errors"] for row in rows if row["simulated"]]
    errors = [f"{median(column):.2g}" for column in zip(*simulated, strict=True)] or [""] * 3
    shares = [row["share"] for row in rows if row["converted"]]
    driven = [f"{median(shares):.1%}", f"{min(shares):.1%}"] if shares else [""] * 2
    return [str(len(rows)), *verdicts, *errors, *driven]


def _analog(rows: list[Row]) -> str:
    """The number of converted models that have operations of each kind."""
    lines = []
    for kind, names in ANALOG.items():
        having = [r for r in rows if r["converted"] and names & set(r.get("operations", ()))]
        relu = sum(row["group"] == "relu" for row in having)
        lines.append([kind, str(relu), str(len(having) - relu)])
    converted = [row["group"] == "relu" for row in rows if row["converted"]]
    lines.append(["converted models", str(sum(converted)), str(len(converted) - sum(converted))])
    return table(["operations", "in the ReLU family", "in others"], lines)


def _hours(rows: list[Row]) -> str:
    steps = ("survey_seconds", "convert_seconds", "simulate_seconds")
    return f"{sum(row.get(step, 0) for row in rows for step in steps) / 3600:.1f}"


def _failures(rows: list[Row]) -> str:
    failed = [[row["name"], " ".join(row["reason"].split())[:300]] for row in rows if row["reason"]]
    return table(["model", "reason"], failed) if failed else "Nothing.\n"


def _told(row: Row, field: str) -> Any:
    """A result for the CSV; None for what was not tried."""
    tried = {"falling": "simulated"}.get(field, "run")
    return row.get(field) if row[tried] or not isinstance(row.get(field), bool) else None


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else " ".join(str(value).split())


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
