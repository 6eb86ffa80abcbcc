"""The verb that makes whole numbers of a network, and what has to hold of the result."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from agreement import emitted, require_close, require_same_bits, tensors
from subject import Subject, T
from torch import Tensor

import spikeport as sp
from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input

ROUNDING = 1e-6  # of an answer, which analog parts may have made; relative to the largest value


@torch.no_grad()
def integers(case: Subject) -> None:
    """With weights of 8 bits every backend, chunk and batch gives the same spikes, to the last."""
    found = sp.quantize(case.network)
    _require_whole(found)
    _require_exact(found, case.x)
    _require_near(case.network.analog(case.x), found.analog(case.x))
    curves = [sp.sweep(n, [case.x], (2,), progress=False) for n in (case.network, found)]
    sizes = [(curve.info["neurons"], curve.info["source_macs"]) for curve in curves]
    if sizes[0] != sizes[1]:
        raise AssertionError(f"neurons and operations of the source: {sizes}")
    sp.cost(found, [case.x], 2, progress=False)
    _require_kept(found, case.x)


def _require_near(expected: Any, found: Any) -> None:
    """Most values are what they were; a normalisation may blow up the rounding of small ones."""
    for values, others in zip(tensors(expected), tensors(found), strict=True):
        errors = (values.double() - others.double()).abs().flatten()
        usual = float(errors.quantile(0.75)) if errors.numel() else 0.0
        if not usual <= 0.25 * float(values.abs().max()):
            raise AssertionError(f"integers, analog: off by {usual:.2g}")


def _require_whole(network: SpikingNetwork) -> None:
    for name, neuron in network.neurons.items():
        for values in (neuron.threshold, neuron.v0, neuron.correction):
            if not torch.equal(values, values.round()):
                raise AssertionError(f"integers: '{name}' has numbers that are not whole")
    called = {str(n.target) for n in network.graph.nodes if n.meta["role"] != "shape"}
    for name, layer in network.named_modules():
        if name in called and isinstance(layer, (torch.nn.Linear, torch.nn.modules.conv._ConvNd)):
            whole = torch.equal(layer.weight, layer.weight.round())
            if not whole or float(layer.weight.abs().max()) > 127 * 2**3:
                raise AssertionError(f"integers: '{name}' has weights that are not whole")


def _require_exact(network: SpikingNetwork, x: Input) -> None:
    network = copy.deepcopy(network)
    network.backend = "torch"
    expected, answer = emitted(network, x, T), tensors(network(x, T))
    for backend in ("torch", "auto"):
        network.backend = backend
        for chunk in (1, 3):
            found = emitted(network, x, T, chunk)
            what = f"integers on '{backend}', chunk {chunk}"
            _require_equal(expected[0], found[0], what)
            require_close(answer, tensors(network(x, T, chunk=chunk)), ROUNDING, f"{what}, answer")
    network.backend = "auto"
    if len(x) > 1:
        first = [value[:1] for value in answer]
        require_close(first, tensors(network(x[:1], T)), ROUNDING, "integers, one image")


def _require_equal(expected: dict[str, Tensor], found: dict[str, Tensor], what: str) -> None:
    if expected.keys() != found.keys():
        raise AssertionError(f"{what}: layers {sorted(expected.keys() ^ found.keys())}")
    for name, values in expected.items():
        wrong = int((values != found[name]).sum())
        if wrong:
            raise AssertionError(f"{what}: {wrong} of {values.numel()} spikes of '{name}' differ")


def _require_kept(network: SpikingNetwork, x: Input) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.snn", Path(folder) / "b.snn"
        sp.save(network, first)
        loaded = sp.load(first)
        require_same_bits(network(x, 3), loaded(x, 3), "integers, loaded")
        sp.save(loaded, second)
        if first.read_bytes() != second.read_bytes():
            raise AssertionError("integers: saved again, the file has other bytes")
