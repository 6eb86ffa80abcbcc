"""Recorded spikes and potentials against the run that they come from."""

import pytest
import torch

from spikeport.calibration import calibrate
from spikeport.convert import KINDS, build
from spikeport.report.page.spike_traces import NEURONS, record


@pytest.mark.parametrize("kind", KINDS)
def test_trace_is_what_the_network_emits(kind, small_net, small_data):
    network = build(small_net, small_data[0][0], KINDS[kind])
    calibrate(network, small_data, progress=False)
    image, layers, T = small_data[0][0][1], ["1", "4"], 12
    emitted = {name: [] for name in layers}
    network.backend = "torch"

    def observe(name, values, first):
        if name in emitted:
            emitted[name].extend(values[:, 0])

    for _ in network.chunks(image[None], T, observe=observe):
        pass
    for trace in record(network, image[None], layers, T):
        theta = network.neurons[trace.layer].threshold
        assert 0 < len(trace.positions) <= NEURONS
        for row, place in enumerate(trace.positions):
            spikes = torch.stack([step[place] for step in emitted[trace.layer]]) / theta[place[0]]
            assert torch.allclose(trace.spikes[row], spikes.round(), atol=1e-3)
        counts = trace.spikes.abs().sum(1).tolist()
        assert counts == sorted(counts, reverse=True)
        fired = trace.spikes[trace.traced]
        assert torch.allclose(trace.before - trace.after, fired, atol=1e-4)
        assert 0 < trace.active <= 1
    assert not network.neurons["1"]._forward_hooks
    assert network.backend == "torch"
