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


@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_are_those_of_the_definition(cupy, scaled):
    torch.manual_seed(0)
    given = [torch.randn(5, 7), torch.randn(7), torch.randn(7)]  # x, and two states
    time, gradients = 3, []
    times = torch.arange(time + 1, time + 6)[:, None] if scaled else torch.ones(5, 1)

    def definition(x, sums, previous):
        total = sums + x.cumsum(0)
        now = (total / times).tanh() * times
        return now - torch.cat([previous[None], now[:-1]]), total[-1], now[-1]

    def kernels(x, sums, previous):
        mean, sums = running_mean(x, sums, time, scaled)
        out, previous = emit_difference(mean.tanh(), previous, time, scaled)
        return out, sums, previous

    weights = [torch.randn(5, 7), torch.randn(7), torch.randn(7)]
    for function in (definition, kernels):
        leaves = [value.clone().requires_grad_() for value in given]
        outputs = function(*leaves)
        loss = sum((weight * out).sum() for weight, out in zip(weights, outputs, strict=True))
        gradients.append(torch.autograd.grad(loss, leaves))
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(found, expected)
