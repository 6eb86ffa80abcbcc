"""Integer networks with ``backend="cuda"``, through the stand-in for CuPy: torch's, bit for bit."""

import pytest
import torch
from integer_network import integer_network

from spikeport.convert import Neuron

TIMESTEPS = 12
KIND = ["if", "signed", "multi-level", Neuron(2, 1, leak=0.75), Neuron(2, hard_reset=True)]


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**26, 2**30))


def emitted(snn, x, backend, chunk):
    """What every layer emits over time, by name."""
    snn.backend, parts = backend, {}
    list(snn.chunks(x, TIMESTEPS, chunk, lambda n, v, _: parts.setdefault(n, []).append(v)))
    return {name: torch.cat(values) for name, values in parts.items()}


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("kind", KIND, ids=str)
@torch.no_grad()
def test_spikes_are_those_of_torch(cupy, kind, bits):
    snn, x = integer_network(kind, bits)
    expected, found = emitted(snn, x, "torch", None), emitted(snn, x, "cuda", 5)
    assert len(expected) == len(snn.neurons) + 1  # the maximum of a pool emits too
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert values.unique().numel() > 1, name
        assert torch.equal(values, values.round())
        assert torch.equal(found[name], values), name


@pytest.mark.parametrize("bits", [16, 24])
@torch.no_grad()
def test_outputs_are_those_of_torch(cupy, bits):
    snn, x = integer_network("signed", bits)
    outputs = []
    for backend, chunk in (("torch", None), ("cuda", None), ("cuda", 5)):
        snn.backend = backend
        outputs.append(dict(snn.readouts(x, [1, 5, TIMESTEPS], chunk)))
    for found in outputs[1:]:
        for timesteps, output in outputs[0].items():
            assert torch.equal(found[timesteps], output)
    assert {(form["SP_BITS"], form["SP_VALUE"]) for form in scans(cupy)} == {(str(bits), "1")}
    assert {form["SP_EMIT"] for form in scans(cupy)} == {"0", "1", "3"}  # totals, bits, values


def scans(cupy):
    """The form of each scan that ran."""
    return [dict(build.defines) for build, _ in cupy.launches if build.kernel == "scan"]
