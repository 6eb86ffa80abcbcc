"""Gradients of the scan against torch's autograd through the same update with the same slope."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeport.convert.neurons.integrate_and_fire import bound
from spikeport.cuda.rules import Rules
from spikeport.cuda.scan import scan, scan_backward

RULES = (
    *(Rules(1), Rules(1, 1, nonnegative=True), Rules(4, 4, nonnegative=True), Rules(3)),
    *(Rules(1, 1, width=0.5), Rules(2, 1, leak=0.8), Rules(3, 3, 0.9, True), Rules(2, width=2.0)),
)


class Spikes(torch.autograd.Function):
    """floor and clip, with a triangle around the nearest step as its slope."""

    @staticmethod
    def forward(ctx, x, rules):
        ctx.save_for_backward(x)
        ctx.rules = rules
        return x.floor().clamp(-rules.max_down, rules.max_up)

    @staticmethod
    def backward(ctx, grad):
        (x,), rules = ctx.saved_tensors, ctx.rules
        nearest = x.round().clamp(1 - rules.max_down, rules.max_up)
        slope = (1 - (x - nearest).abs() / rules.width).clamp_min(0) / rules.width
        return grad * slope, None


def reference(current, theta, v, total, rules, highest):
    """The update of convert/neurons/family.py, differentiable; [T, B, C] and [C]."""
    emitted = []
    lowest = torch.zeros_like(theta).detach() if rules.nonnegative else None
    for time, now in enumerate(current, 1):
        v = v * rules.leak + now
        n = Spikes.apply(v / theta, rules)
        kept = bound(n, total, time, lowest, highest).detach()
        n = torch.where(kept == n, n, kept)
        total = total + n.detach()
        out = n * theta
        v = torch.where(n != 0, torch.zeros_like(v), v) if rules.hard_reset else v - out
        emitted.append(out)
    return torch.stack(emitted), v


@pytest.mark.parametrize("rules", RULES, ids=str)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_equal_autograds(cupy, rules, data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**31)))
    steps = draw(st.integers(1, 21))
    batch, channels = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    highest = torch.rand(channels) * 3 if draw(st.booleans()) else None
    inputs = {
        "current": torch.randn(steps, batch, channels) + 0.3,
        "residual": torch.randn(steps, batch, channels),
        "theta": torch.rand(channels) + 0.3,
        "v": torch.rand(batch, channels),
    }
    weights = torch.randn(steps, batch, channels), torch.randn(batch, channels)

    def gradients(function):
        leaves = {k: x.clone().requires_grad_() for k, x in inputs.items()}
        out, v = function(**leaves)
        ((out * weights[0]).sum() + (v.view(batch, channels) * weights[1]).sum()).backward()
        return {"out": out.detach()} | {name: leaf.grad for name, leaf in leaves.items()}

    def ours(current, residual, theta, v):
        out, after, *_ = scan(
            *(current.flatten(1), residual.flatten(1), theta, None, highest, v.flatten()),
            *(torch.zeros(batch * channels), rules.listed, steps, 1, 0, "values", False, True),
        )
        return out.view(current.shape), after

    def theirs(current, residual, theta, v):
        return reference(current + residual, theta, v, torch.zeros_like(v), rules, highest)

    found, expected = gradients(ours), gradients(theirs)
    assert torch.equal(found["out"], expected["out"])
    for name in inputs:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_constant_current_collects_the_gradients_of_all_timesteps(cupy):
    torch.manual_seed(0)
    one, theta, v = torch.randn(1, 10), torch.rand(5) + 0.3, torch.rand(10)
    found = []
    for current in (one, one.expand(9, -1).contiguous()):
        leaf = current.clone().requires_grad_()
        given_by = (leaf, None, theta, None, None, v, None, Rules(1, 1).listed)
        scan(*given_by, 9, 1, 0, "values", False, True)[0].sum().backward()
        found.append(leaf.grad.sum(0))
    torch.testing.assert_close(*found)


def test_halves_get_halves(cupy):
    torch.manual_seed(0)
    current = torch.randn(5, 8).half().requires_grad_()
    given_by = (current, None, torch.ones(1), None, None, torch.zeros(8), None, Rules(1).listed)
    scan(*given_by, 5, 8, 0, "values", False, True)[0].sum().backward()
    assert current.grad.dtype == torch.float16
    assert bool(current.grad.count_nonzero())


@pytest.mark.parametrize(("emit", "keep"), [("packed", True), ("values", False)])
def test_what_has_no_gradient_says_so(cupy, emit, keep):
    current = torch.randn(5, 8, requires_grad=True)
    with pytest.raises(ValueError, match=r"torch\.no_grad"):
        scan(
            *(current, None, torch.ones(1), None, None, torch.zeros(8), None, Rules(1).listed),
            *(5, 8, 0, emit, False, keep),
        )


def operations():
    total = torch.zeros(16)
    rules = Rules(2, 1, nonnegative=True).listed
    state = (torch.ones(2), None, torch.full((2,), math.inf), torch.zeros(16), total, rules)
    yield scan, (torch.randn(9, 16), torch.randn(9, 16), *state, 9, 8, 0, "values", True, True)
    yield scan, (torch.randn(1, 16), None, *state, 9, 8, 0, "packed", False, False)
    kept = torch.zeros(2, 16)
    yield (
        scan_backward,
        (torch.randn(9, 16), torch.randn(9, 16), *state[:3], kept, kept, total, rules, 8, 0),
    )


@pytest.mark.parametrize("index", range(3))
def test_operations_are_what_torch_expects(cupy, index):
    operation, arguments = list(operations())[index]
    torch.library.opcheck(operation, arguments)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of opcheck's own making
def test_operation_with_gradients_is_what_torch_expects(cupy):
    current = torch.randn(9, 16, requires_grad=True)
    state = (torch.ones(2), None, None, torch.zeros(16), torch.zeros(16), Rules(1, 1).listed)
    torch.library.opcheck(scan, (current, None, *state, 9, 8, 0, "values", False, True))


def test_compiled_gradients_are_the_eager_ones(cupy):
    torch.manual_seed(0)
    x, theta = torch.randn(6, 16), torch.rand(2) + 0.5

    def network(current, threshold):
        state = (threshold, None, None, torch.zeros(16), None, Rules(1, 1).listed)
        out = scan(current * 2, None, *state, 6, 8, 0, "values", False, True)[0]
        return (out**2).sum()

    found = []
    for function in (network, torch.compile(network, backend="aot_eager", fullgraph=True)):
        leaves = x.clone().requires_grad_(), theta.clone().requires_grad_()
        function(*leaves).backward()
        found.append([leaf.grad for leaf in leaves])
    for eager, compiled in zip(*found, strict=True):
        assert torch.equal(eager, compiled)
