"""Verbs that measure: curves with counts, costs, the errors of the layers, a page."""

import copy
import tempfile
from pathlib import Path

import brute_force
import torch
from agreement import require_close
from subject import Subject, T, floats_of

import spikeport as sp
from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input


@torch.no_grad()
def sweep(case: Subject) -> None:
    """Accumulates and multiply-accumulates are those of a count by brute force."""
    network = copy.deepcopy(case.network)
    for backend in ("auto", "torch"):
        network.backend = backend
        curve = sp.sweep(network, [(case.x, case.labels)], (2, T), progress=False)
        str(curve)
    require_counts(network, case.x, curve)


def require_counts(network: SpikingNetwork, x: Input, curve: sp.Curve) -> None:
    """Raise AssertionError unless a curve's operations are those of a count by brute force."""
    times = [row["timesteps"] for row in curve.rows]
    try:
        counted = brute_force.count(network, x, times)
    except brute_force.TooLarge:
        return
    for row in curve.rows:
        expected = counted.accumulates[row["timesteps"]]
        if abs(row["acs"] - expected) > 1e-4 * expected + 1e-3:
            raise AssertionError(f"accumulates: {row['acs']:g}; brute force: {expected:g}")
        expected = counted.multiplies(row["timesteps"])
        if abs(row["macs"] - expected) > 1e-4 * expected + 1e-3:
            raise AssertionError(f"MACs: {row['macs']:g}; brute force: {expected:g}, {counted}")


@torch.no_grad()
def sweep_two_sizes(case: Subject) -> None:
    """A second batch of another size in one sweep."""
    if case.larger is not None and case.network.analog(case.larger) is not None:
        batches = [case.x, case.larger] if case.scores else [case.larger]
        sp.sweep(case.network, batches, (2,), progress=False)


@torch.no_grad()
def cost(case: Subject) -> None:
    """Operations and energy beside the source's."""
    str(sp.cost(case.network, [(case.x, case.labels)], 2, progress=False))


def inspect(case: Subject) -> None:
    """The errors of the layers."""
    found = sp.inspect(case.network, [case.x], 2, progress=False)
    str(found)


def report(case: Subject) -> None:
    """A page, without the inspection, which has a verb of its own."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        data = [(case.x, case.labels)]
        sp.write_report(case.network, data, page, (1, 2), inspected=0, progress=False)
        if "</html>" not in page.read_text("utf-8"):
            raise AssertionError("the page is cut off")


@torch.no_grad()
def encodings(case: Subject) -> None:
    """Spikes and event frames as inputs, on "auto" and torch, with their accumulates."""
    network, outputs = copy.deepcopy(case.exact), []
    x = floats_of(case.coarse, lambda value: value.clamp(-1, 1))
    network.encoding = sp.Poisson(seed=1)
    for backend in ("auto", "torch"):
        network.backend = backend
        outputs.append(network(x, 3, chunk=2))
    require_close(*outputs, 0.5, "encoded by 'poisson': backends")
    curve = sp.sweep(network, [x], (3,), progress=False)
    require_counts(network, x, curve)
