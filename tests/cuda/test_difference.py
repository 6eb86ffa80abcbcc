"""The kernels around a function that is evaluated on the running mean."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeport.cuda import launch
from spikeport.cuda.difference import emit_difference, running_mean

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_equal_the_definition_in_chunks(cupy, data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**31)))
    neurons, steps = draw(st.sampled_from([1, 5, 64, 300])), draw(st.integers(1, 11))
    dtype, scaled = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    x = torch.randn(steps, neurons).to(dtype)
    sums, before, expected_means, expected = torch.zeros(neurons), torch.zeros(neurons), [], []
    for time, now in enumerate(x.float(), 1):
        sums = sums + now
        expected_means.append((sums / time if scaled else sums).to(dtype))
        at_mean = expected_means[-1].float().tanh().to(dtype).float()
        total = at_mean * time if scaled else at_mean
        expected.append((total - before).to(dtype))
        before = total
    total, previous, time = torch.zeros(neurons), torch.zeros(neurons), 0
    means, emitted = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_MOST_BLOCKS", (1, 1, 1))
        for part in x.split(draw(st.integers(1, 11))):
            mean, total = running_mean(part, total, time, scaled)
            at_mean = mean.float().tanh().to(dtype)
            out, previous = emit_difference(at_mean, previous, time, scaled)
            means.append(mean)
            emitted.append(out)
            time += len(part)
    assert torch.equal(torch.cat(means), torch.stack(expected_means))
    assert torch.equal(torch.cat(emitted), torch.stack(expected))
    assert torch.equal(total, sums)
    assert torch.equal(previous, before)
