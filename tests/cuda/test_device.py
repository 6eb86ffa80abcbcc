"""The property tests of this folder, and what only a GPU can show, on a GPU."""

import pytest
import torch
from integer_network import emitted, integer_network
from test_difference import test_equal_the_definition_in_chunks  # noqa: F401
from test_packed import (  # noqa: F401
    test_average_pool_of_spikes,
    test_linear_adds_up_in_order,
    test_scan_packs_what_it_counts,
    test_unpack_gives_the_values,
)
from test_scan import (  # noqa: F401
    test_a_potential_stays_in_its_width,
    test_chunks_equal_one_run,
    test_constant_current_is_read_once,
    test_equals_the_torch_definition,
    test_residual_is_added_as_torch_adds,
    test_spikes_are_counted_by_channel,
    test_whole_numbers_equal_the_torch_definition,
)

from spikeport.convert.simulation.gpu import int8_products
from spikeport.cuda.rules import Rules
from spikeport.cuda.scan import scan

pytestmark = pytest.mark.gpu


@pytest.fixture
def cupy():
    """CuPy itself: the tests' tensors are made on the GPU."""
    with torch.device("cuda"):
        yield


def fire(current):
    zeros = torch.zeros(current.shape[1], device=current.device)
    state = (torch.ones(1, device=current.device), None, None, None, zeros, None, Rules(1).listed)
    return scan(current, None, *state, len(current), len(zeros), 0, "values", False)[0]


def test_another_stream_waits_for_nothing_else(cupy):
    current, stream = torch.rand(64, 2**20), torch.cuda.Stream()
    expected = fire(current)
    with torch.cuda.stream(stream):
        found = fire(current * 1)  # made and read on this stream
    stream.synchronize()
    assert torch.equal(found, expected)


def test_a_graph_replays_the_launch(cupy):
    current = torch.rand(16, 4096)
    fire(current)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = fire(current)
    current.copy_(torch.rand(16, 4096))
    graph.replay()
    assert torch.equal(out, fire(current))


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("integers", [False, True])
@torch.no_grad()
def test_an_integer_network_is_the_same_on_the_gpu(bits, integers, monkeypatch):
    monkeypatch.setattr(int8_products, "is_quicker", lambda *given: integers)
    snn, x = integer_network("signed", bits)
    expected = emitted(snn, x, "torch")
    snn, x = snn.cuda(), x.cuda()
    for backend in ("torch", "cuda"):
        found = emitted(snn, x, backend, 8)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert torch.equal(found[name].cpu(), values), name
