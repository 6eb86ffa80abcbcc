"""The page of the operations: structures that convert, and what can be done with them.

Run as ``python -m spikeport.scripts.coverage.operations_page -o docs/operations.md``. Around every
example of every row, in the first form in which torch takes it, stands a small network; the verbs
are run on it. ``tests/laws`` runs all of them on every form.
"""

import argparse
import copy
import pickle
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.graph.operations import table
from spikeport.convert.graph.operations.operation import Operation
from spikeport.convert.graph.operations.spikes import UNKNOWN
from spikeport.convert.saving.container import load, save
from spikeport.report import cost, inspect, sweep
from spikeport.scripts.coverage.row_networks import Form, forms, network
from spikeport.zoo.pipeline import to_snn

IN_TIME = {
    "weighted": "layer with weights",
    "linear": "each timestep by itself",
    "product": "each timestep; running mean where two factors change",
    "difference": "running mean",
    "shape": "sizes only",
    "fixed": "once, on constants and the input",
}
INTRODUCTION = """# Operations

Which structures can be converted, and what can I do with them? Everything that Spikeport knows of
an operation stands in one row (`convert/graph/operations/`); this page is printed from the rows by

    python -m spikeport.scripts.coverage.operations_page -o docs/operations.md

- **in time**: what the operation does to values that change from timestep to timestep. An
  operation on the running mean m of its inputs emits `t·F(m_t) − (t−1)·F(m_{t−1})`, so that the
  mean over T timesteps is exact; it is analog.
- **spikes**: what becomes of spikes that go in. Behind "analog" or "mixed" a layer multiplies, or
  gets a signed neuron before it.
- **MACs**: whether the operation itself multiplies and accumulates, and is counted.
- **does**: the verbs that were run on a small network around it: convert, run on torch and on
  "auto", anytime, sweep, cost, inspect, save and load (the same outputs), save again (the same
  bytes), deepcopy, pickle. "all", or what failed.

Operations are known however they are written: as functions of `torch`, `torch.nn.functional`,
`torch.special`, `torch.linalg`, as operators, methods of tensors, modules, in place. Products with
a constant (`x @ W`, `einsum`, `addmm`, `bmm`) are layers. What has no row is refused by name before
any data is read; `sp.register_op` gives it one (see [coverage.md](coverage.md)).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", required=True, metavar="F")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    chosen: dict[str, list[Form]] = {}
    for form in forms():
        chosen.setdefault(form.row.name, []).append(form)
    done = {row.name: _does(row, chosen.get(row.name, [])) for row in table.rows()}
    Path(options.output).write_text(page(done), encoding="utf-8")


def page(done: dict[str, str]) -> str:
    """The page, for what was found of each row."""
    lines = [INTRODUCTION]
    for family in table.FAMILIES:
        lines += [f"\n## {str(family.__doc__).splitlines()[0].rstrip('.')}\n"]
        lines += [
            "| operation | layers | in time | spikes | MACs | does |",
            "|---|---|---|---|---|---|",
        ]
        lines += [f"| {' | '.join(_cells(row))} | {done[row.name]} |" for row in family.ROWS]
    return "\n".join(lines) + "\n"


def _cells(row: Operation) -> list[str]:
    spikes = "" if row.spikes is UNKNOWN else row.spikes.text
    layers = ", ".join(sorted({f"`{cls.__name__}`" for cls in row.layers}))
    names = ", ".join(f"`{name}`" for name in row.names)
    becomes = " (a clamp around 0 becomes a neuron)" if row.activation else ""
    multiplies = "yes" if row.macs is not None else ""
    return [names, layers, IN_TIME[row.in_time] + becomes, spikes, multiplies]


def _does(row: Operation, ways: list[Form]) -> str:
    """The verbs that hold for the first form of each example."""
    seen: set[str] = set()
    failed: list[str] = []
    tried = False
    for form in ways:
        example = form.name.rpartition("#")[2] if "#" in form.name else ""
        made = network(form) if example not in seen else None
        if made is None:
            continue
        seen.add(example)
        tried = True
        failed += _failures(*made)
    return ", ".join(dict.fromkeys(failed)) or ("all" if tried else "")


def _failures(model: nn.Module, x: Tensor) -> list[str]:
    try:
        snn = to_snn(model, [x], neuron="multi-level", progress=False)
    except ConversionError:
        return ["not converted"]
    failed = []
    for verb, run in VERBS.items():
        try:
            run(snn, x)
        except Exception:  # that is what is asked
            failed.append(f"not {verb}")
    return failed


def _saved(snn: SpikingNetwork, x: Tensor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a.snn"), Path(folder, "b.snn")
        save(snn, first)
        again = load(first)
        save(again, second)
        if not torch.equal(again(x, 4), snn(x, 4)) or first.read_bytes() != second.read_bytes():
            raise AssertionError("another network")


def _on_torch(snn: SpikingNetwork, x: Tensor) -> None:
    backend, snn.backend = snn.backend, "torch"
    try:
        snn(x, 4)
    finally:
        snn.backend = backend


VERBS: dict[str, Callable[[SpikingNetwork, Tensor], object]] = {
    "torch": _on_torch,
    "auto": lambda snn, x: snn(x, 4),
    "anytime": lambda snn, x: snn.anytime(x, 4),
    "sweep": lambda snn, x: sweep(snn, [x], (4,), progress=False),
    "cost": lambda snn, x: cost(snn, [x], 4, progress=False),
    "inspect": lambda snn, x: inspect(snn, [x], 4, progress=False),
    "save": _saved,
    "deepcopy": lambda snn, x: copy.deepcopy(snn)(x, 2),
    "pickle": lambda snn, x: pickle.loads(pickle.dumps(snn))(x, 2),
}

if __name__ == "__main__":
    main()
