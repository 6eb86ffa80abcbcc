"""The scan kernel, run on the CPU, against the neurons of convert/: bit for bit."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeport.convert.neurons import Neuron, NeuronLayer, State
from spikeport.cuda import launch
from spikeport.cuda.layout import Layout
from spikeport.cuda.rules import Rules
from spikeport.cuda.scan import scan

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
FAMILY = (Neuron(1, 0), Neuron(1, 1), Neuron(4, 4))
FORMS = (  # of the update: neuron, range
    (Neuron(1, 0), (0.0, math.inf)),
    (Neuron(1, 1), (0.0, math.inf)),
    (Neuron(1, 1), (-math.inf, math.inf)),
    (Neuron(1, 1), (0.0, 6.0)),
    (Neuron(1, 0), (0.0, 0.5)),
    (Neuron(5, 0), (0.0, math.inf)),
    (Neuron(2, 0, 0.8), (0.0, math.inf)),
    (Neuron(2, 0, hard_reset=True), (0.0, math.inf)),
    (Neuron(4, 4), (0.0, math.inf)),
    (Neuron(4, 4), (0.0, 6.0)),
    (Neuron(3, 2, 0.7, True), (-1.0, 1.5)),
)
SHAPES = ((1, 1), (2, 5), (3, 31), (2, 33), (2, 3, 4, 4), (1, 8, 4, 4), (2, 4, 5, 3), (4, 64))
WHOLE = tuple(  # of a potential that is a whole number: neuron, range in spikes
    (replace(model, potential_bits=bits), span)
    for bits in (16, 24, 32)
    for model, span in (
        (Neuron(1, 0), (0.0, math.inf)),
        (Neuron(1, 1), (0.0, math.inf)),
        (Neuron(1, 1), (-math.inf, math.inf)),
        (Neuron(5, 0, hard_reset=True), (0.0, math.inf)),
        (Neuron(4, 4), (0.0, 2.5)),
        (Neuron(3, 2, 0.7), (-1.0, 1.5)),
        (Neuron(3, 2, 0.7, True), (-1.0, 1.5)),
    )
)
property_test = settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def layer(model, channels, span=(0.0, math.inf), per_neuron=()):
    """A neuron layer with thresholds of 0.2 to 1.2 and potentials that may fire at once."""
    neuron = NeuronLayer(model, channels, *span)
    shape = (channels, *per_neuron)
    neuron.threshold.data = torch.rand(shape) + 0.2
    neuron.v0.data = torch.rand(shape) * neuron.threshold * 1.5
    return neuron


def whole_layer(model, channels, span, small, per_neuron=()):
    """A neuron layer of an integer network; ``small``: many spikes fit in its potential."""
    shape, bits = (channels, *per_neuron), model.potential_bits
    largest = 40 if small else 2 ** (min(bits, 24) - 1) // 3
    threshold = torch.randint(1 + largest // 2, largest + 1, shape).float()
    unit = torch.rand(shape) + 0.1
    scale = float(threshold.max() * unit.max())
    neuron = NeuronLayer(model, channels, span[0] * scale, span[1] * scale)
    neuron.model = model
    neuron.threshold.data, neuron.unit.data = threshold, unit
    neuron.spike_value.data = torch.ones(shape)
    neuron.v0.data = (threshold * torch.rand(shape) * 1.5).round()
    return neuron


def run(neuron, current, state, residual=None, emit="values", timesteps=None, **how):
    """``scan`` for a layer of convert/: the layout, what it emitted, state, the other outputs."""
    layout, time = Layout.of(current, neuron.channel_dim), state.time
    threshold, inner = layout.parameter(neuron.threshold.detach())
    value = layout.parameter(neuron.value.detach())[0] if neuron.integer else None
    model, bits = neuron.model, neuron.model.potential_bits or 0
    rules = Rules(model.max_up, model.max_down, model.leak, model.hard_reset, bits=bits)
    bounds = neuron._total_bounds(neuron.threshold.detach().to(rules.state_type))
    lowest, highest = (None if b is None else layout.parameter(b)[0] for b in bounds)
    floor = neuron.low == 0 and lowest is not None
    rules = replace(rules, nonnegative=floor)
    total = state.total
    if emit == "nothing" and total is None:
        total = torch.zeros(current.shape[1:])
    out, v, total, *others = scan(
        layout.rows(current),
        None if residual is None else layout.rows(residual),
        *(threshold, value, None if floor else lowest, highest, layout.row(state.v.detach())),
        *(None if total is None else layout.row(total.float()), rules.listed),
        *(timesteps or len(current), inner, time, emit),
        how.get("count", False),
    )
    back = [layout.tensor(row[None])[0] if row.numel() else None for row in (v, total)]
    return layout, out, State(*back, time + (timesteps or len(current))), others


def start(neuron, current):
    with torch.no_grad():
        return neuron.start(current[0].to(neuron._state_type(current)))


def same_state(found, expected):
    assert torch.equal(found.v, expected.v)
    assert expected.total is None or torch.equal(found.total, expected.total.float())
    assert found.time == expected.time


def currents(draw, steps, shape, dtype=torch.float32):
    """Random, or quarters: sums of these meet the thresholds' multiples exactly."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randn(steps, *shape) * draw(st.sampled_from([0.3, 1.0, 4.0]))
    if draw(st.booleans()):
        values = (values * 4).round() / 4
    return values.to(dtype)


@pytest.mark.parametrize(("model", "span"), FORMS)
@property_test
@given(data=st.data())
def test_equals_the_torch_definition(cupy, model, span, data):
    draw = data.draw
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES))
    current = currents(draw, draw(st.integers(1, 19)), shape, dtype)
    if len(shape) == 4 and draw(st.booleans()):
        current = current.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    neuron = layer(model, shape[1], span, shape[2:] if draw(st.booleans()) else ())
    if draw(st.booleans()):  # so that potentials are whole multiples of the threshold
        neuron.threshold.data = (neuron.threshold * 4).ceil() / 4
        neuron.v0.data = (neuron.v0 * 4).round() / 4
    with torch.no_grad():
        expected, after = neuron(current.float())
    with pytest.MonkeyPatch.context() as patch:  # the grid is never as large as the launcher's
        patch.setattr(launch, "THREADS", draw(st.sampled_from([32, 64, 128])))
        patch.setattr(launch, "_MOST_BLOCKS", (draw(st.integers(1, 3)), 1, 1))
        layout, out, state, _ = run(neuron, current, start(neuron, current))
    assert out.dtype == dtype
    assert torch.equal(layout.tensor(out), expected.to(dtype))
    same_state(state, after)


@pytest.mark.parametrize(("model", "span"), WHOLE)
@property_test
@given(data=st.data())
def test_whole_numbers_equal_the_torch_definition(cupy, model, span, data):
    draw = data.draw
    shape, small = draw(st.sampled_from(SHAPES)), draw(st.booleans())
    per_neuron = shape[2:] if draw(st.booleans()) else ()
    neuron = whole_layer(model, shape[1], span, small, per_neuron)
    current = currents(draw, draw(st.integers(1, 19)), shape) * neuron.threshold.mean()
    if draw(st.booleans()):  # as they are where a convolution goes through fractions
        current = current.round() + 0.2 * torch.randn(current.shape).clamp(-1, 1)
    elif draw(st.booleans()):
        current = current * 2 ** draw(st.integers(1, 8))  # the potential saturates
    with torch.no_grad():
        expected, after = neuron(current)
    layout, out, state, _ = run(neuron, current, start(neuron, current))
    assert torch.equal(layout.tensor(out), expected)
    assert bool((expected == expected.round()).all())
    same_state(state, after)


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_potential_stays_in_its_width(cupy, bits, sign):
    neuron = whole_layer(Neuron(1, 1, potential_bits=bits), 8, (-math.inf, math.inf), True)
    current = torch.full((6, 2, 8), sign * 2.0 ** (bits - 2))
    with torch.no_grad():
        expected, after = neuron(current)
    layout, out, state, _ = run(neuron, current, start(neuron, current))
    assert torch.equal(layout.tensor(out), expected)
    same_state(state, after)
    highest = 2.0 ** (bits - 1) - 1 if sign > 0 else -(2.0 ** (bits - 1))
    assert bool((state.v + neuron.threshold.to(state.v) * sign == highest).all())


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (3, 5)])
@pytest.mark.parametrize("model", FAMILY, ids=str)
def test_potentials_that_are_whole_thresholds_fire(cupy, model, shape):
    torch.manual_seed(0)
    neuron = layer(model, shape[1])
    neuron.threshold.data = torch.randint(2, 5, (shape[1],)) / 4
    neuron.v0.data = torch.randint(0, 5, (shape[1],)) / 4
    current = torch.randint(-3, 6, (20, *shape)) / 4
    with torch.no_grad():
        expected, after = neuron(current)
    layout, out, state, _ = run(neuron, current, start(neuron, current))
    assert torch.equal(layout.tensor(out), expected)
    same_state(state, after)


@pytest.mark.parametrize(("span", "drive"), [((0.0, 6.0), 100.0), ((-6.0, math.inf), -100.0)])
def test_bounds_that_are_whole_spikes_up_to_rounding(cupy, span, drive):
    fractions = [(p, q) for q in range(1, 12) for p in range(1, 4 * q)]
    neuron = layer(Neuron(4, 4), len(fractions), span)
    neuron.threshold.data = torch.tensor([6 * q / p for p, q in fractions])  # t 6 / θ = t p / q
    current = torch.full((33, 1, len(fractions)), drive)
    with torch.no_grad():
        expected, after = neuron(current)
    layout, out, state, _ = run(neuron, current, start(neuron, current))
    assert torch.equal(layout.tensor(out), expected)
    same_state(state, after)


@pytest.mark.parametrize(("model", "span"), FORMS)
@property_test
@given(data=st.data())
def test_chunks_equal_one_run(cupy, model, span, data):
    draw = data.draw
    shape = draw(st.sampled_from(SHAPES))
    neuron = layer(model, shape[1], span)
    current = currents(draw, 12, shape)
    with torch.no_grad():
        expected, after = neuron(current)
    state, parts = start(neuron, current), []
    for part in current.split(draw(st.integers(1, 12))):
        layout, out, state, _ = run(neuron, part, state)
        parts.append(layout.tensor(out))
    assert torch.equal(torch.cat(parts), expected)
    same_state(state, after)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", FAMILY, ids=str)
def test_residual_is_added_as_torch_adds(cupy, model, dtype):
    torch.manual_seed(0)
    current, residual = torch.randn(2, 7, 2, 8, 4, 4).to(dtype)
    neuron = layer(model, 8)
    with torch.no_grad():
        expected, after = neuron((current + residual).float())
    layout, out, state, _ = run(neuron, current, start(neuron, current), residual)
    assert torch.equal(layout.tensor(out), expected.to(dtype))
    same_state(state, after)


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (3, 7)])
@pytest.mark.parametrize("with_residual", [False, True])
def test_constant_current_is_read_once(cupy, shape, with_residual):
    torch.manual_seed(0)
    current, residual = torch.randn(1, *shape), torch.randn(9, *shape)
    neuron = layer(Neuron(1, 1), shape[1])
    at_each = current.expand(9, *shape) + (residual if with_residual else 0)
    with torch.no_grad():
        expected, after = neuron(at_each)
    given_residual = residual if with_residual else None
    layout, out, state, _ = run(
        neuron, current, start(neuron, current), given_residual, timesteps=9
    )
    assert torch.equal(layout.tensor(out), expected)
    same_state(state, after)


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (3, 7), (2, 33, 3, 3), (1, 2, 9, 14)])
@pytest.mark.parametrize("model", FAMILY, ids=str)
def test_spikes_are_counted_by_channel(cupy, model, shape):
    torch.manual_seed(0)
    current, neuron = torch.randn(6, *shape), layer(model, shape[1])
    with torch.no_grad():
        emitted, _ = neuron(current)
    spikes = (emitted / neuron.per_channel(neuron.threshold, current[0])).round().abs()
    expected = spikes.transpose(1, 2).flatten(2).sum((0, 2)).long()
    for memory in (current, current.movedim(2, -1).contiguous().movedim(-1, 2)):
        *_, (counts,) = run(neuron, memory, start(neuron, memory), count=True)
        assert torch.equal(counts, expected)


@pytest.mark.parametrize("model", FAMILY, ids=str)
def test_totals_are_the_sums_of_the_spikes(cupy, model):
    torch.manual_seed(0)
    current, neuron = torch.randn(11, 2, 8, 4, 4), layer(model, 8)
    with torch.no_grad():
        emitted, _ = neuron(current)
    _, out, state, _ = run(neuron, current, start(neuron, current), emit="nothing")
    spikes = (emitted / neuron.per_channel(neuron.threshold, current[0])).round()
    assert out.numel() == 0
    assert torch.equal(state.total, spikes.sum(0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_are_small_integers(cupy, dtype):
    torch.manual_seed(0)
    for shape in ((2, 8, 4, 4), (3, 7)):
        current, neuron = torch.randn(5, *shape).to(dtype), layer(Neuron(4, 4), shape[1])
        with torch.no_grad():
            emitted, _ = neuron(current.float())
        layout, out, _, _ = run(neuron, current, start(neuron, current), emit="counts")
        spikes = emitted / neuron.per_channel(neuron.threshold, current[0].float())
        assert out.dtype == torch.int8
        assert torch.equal(layout.tensor(out).float(), spikes.round())


def test_unaligned_currents_are_read_one_by_one(cupy):
    torch.manual_seed(0)
    whole, neuron = torch.randn(4 * 16 + 1), layer(Neuron(1, 0), 8)
    current = whole[1:].view(4, 2, 8)
    with torch.no_grad():
        expected, _ = neuron(current)
    layout, out, _, _ = run(neuron, current, start(neuron, current))
    assert torch.equal(layout.tensor(out), expected)
    assert dict(cupy.launches[-1][0].defines)["SP_VECTOR"] == "1"


def test_no_timesteps_and_no_neurons(cupy):
    neuron = layer(Neuron(1, 0), 8)
    current = torch.randn(1, 2, 8)
    _, out, state, _ = run(neuron, current[:0], start(neuron, current))
    assert out.shape == (0, 16)
    assert state.v.shape == (2, 8)
    _, out, _, _ = run(neuron, torch.randn(3, 0, 8), start(neuron, torch.randn(1, 0, 8)))
    assert out.shape == (3, 0)


@pytest.mark.parametrize(
    ("model", "dtype", "most"),
    [
        (Neuron(1, 0), torch.float32, 4.125),
        (Neuron(1, 1), torch.float32, 4.25),
        (Neuron(1, 0), torch.float16, 2.125),
        (Neuron(1, 1), torch.bfloat16, 2.25),
    ],
)
def test_bytes_of_a_neuron_and_timestep(cupy, model, dtype, most):
    neuron = layer(model, 32)
    for steps in (8, 16):
        current = torch.randn(steps, 1, 32, 8, 8).to(dtype)
        run(neuron, current, start(neuron, current), emit="packed")
    fewer, more = cupy.bytes
    assert more - fewer == most * 8 * current[0].numel()  # beside the state of a chunk
