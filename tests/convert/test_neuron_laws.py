"""Laws of every neuron model, for any current: of the update, and of what its class declares."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from spikeport.convert import KINDS, ConversionError, NeuronLayer, build, neuron_model
from spikeport.convert.neurons import MODELS, spelled
from spikeport.convert.neurons.kinds import describe_model, described_model
from spikeport.convert.neurons.packing import EVENTS
from spikeport.convert.saving.container import load, save
from spikeport.convert.simulation.input_encoding import TimeToFirstSpike
from spikeport.cpu.loader import why_unavailable
from tests.convert.neuron_models import current, layer, models_of

LAW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
RANGES = [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, math.inf)]
SPANS = st.sampled_from(RANGES)
SEEDS = st.integers(0, 10**6)
STEPS = st.integers(1, 40)
every_model = pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def spikes_of(neuron, drive):
    """The events of a layer in thresholds, [T, B, ...]."""
    out, _ = neuron(drive)
    return neuron.events(out, None) / neuron.per_channel(neuron.threshold, out[0])


# -- the update


@every_model
@LAW
@given(st.data(), SPANS, SEEDS, STEPS)
def test_decode_identity(cls, data, span, seed, timesteps):
    neuron, drive = layer(data.draw(models_of(cls)), span, seed), current(timesteps, seed)
    out, state = neuron(drive)
    start = neuron.per_channel(neuron.v0, drive[0])
    added = neuron.correction[:timesteps].sum(0) / timesteps
    expected = drive.mean(0) + neuron.per_channel(added, start) - (state.v - start) / timesteps
    if neuron.model.lossless:
        assert (out.mean(0) - expected).abs().max() <= 1e-4 * (1 + drive.abs().max())


@every_model
@LAW
@given(st.data(), SPANS, SEEDS, STEPS)
def test_emits_whole_spikes_within_its_limits(cls, data, span, seed, timesteps):
    neuron, drive = layer(data.draw(models_of(cls)), span, seed), current(timesteps, seed)
    spikes = spikes_of(neuron, drive)
    assert torch.allclose(spikes, spikes.round(), atol=1e-4)
    assert spikes.max() <= neuron.max_up + 1e-4
    assert spikes.min() >= -neuron.max_down - 1e-4
    assert len(spikes.round().unique()) <= neuron.model.levels
    if neuron.model.ternary:
        assert spikes.abs().max() <= 1 + 1e-4
    if not neuron.model.sends_corrections:
        out, _ = neuron(drive)
        assert torch.equal(neuron.events(out, None), out)


@every_model
@LAW
@given(st.data(), SPANS, SEEDS)
def test_chunks_that_carry_the_state_are_one_run_bit_for_bit(cls, data, span, seed):
    neuron, drive = layer(data.draw(models_of(cls)), span, seed), current(24, seed)
    cuts = sorted(data.draw(st.sets(st.integers(1, 23), max_size=5)))
    whole, end = neuron(drive)
    state, parts = None, []
    for first, last in zip([0, *cuts], [*cuts, 24], strict=True):
        part, state = neuron(drive[first:last], state)
        parts.append(part)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(state.v, end.v)
    assert all(map(torch.equal, state.memory, end.memory))
    assert state.time == end.time == 24


@every_model
@LAW
@given(st.data(), SPANS, SEEDS, STEPS)
def test_the_decoded_value_never_leaves_the_activations_range(cls, data, span, seed, timesteps):
    """Thresholds from 0.05 to 4 would allow means far above 6 with up to nine spikes."""
    neuron = layer(data.draw(models_of(cls)), span, seed)
    out, _ = neuron(current(timesteps, seed, scale=20.0))
    times = torch.arange(1, timesteps + 1).view(-1, 1, 1, 1, 1)
    decoded = out.cumsum(0) / times
    # the count may exceed t·6/θ by the rounding margin of `step`, a thousandth of a spike
    slack = 1e-3 * neuron.threshold.max() + 1e-4
    assert decoded.max() <= neuron.high + slack
    assert decoded.min() >= neuron.low - slack


@every_model
@LAW
@given(st.data(), SPANS)
def test_gradients_are_finite(cls, data, span):
    neuron = layer(data.draw(models_of(cls)), span, 0)
    drive = current(8, 0).requires_grad_()
    neuron.threshold.requires_grad_()
    neuron(drive)[0].square().sum().backward()
    assert torch.isfinite(drive.grad).all()
    assert torch.isfinite(neuron.threshold.grad).all()
    assert neuron.threshold.grad.abs().max() > 0


@every_model
@LAW
@given(st.data())
def test_a_quantity_with_both_signs_gets_as_many_spikes_down_as_up(cls, data):
    model = data.draw(models_of(cls)).both_signs()
    assert model.max_down >= model.max_up
    assert model.both_signs() == model


# -- what is declared


@every_model
@LAW
@given(st.data(), SPANS, SEEDS, STEPS)
def test_the_mean_stays_within_its_reach(cls, data, span, seed, timesteps):
    neuron = layer(data.draw(models_of(cls)), span, seed)
    out, _ = neuron(current(timesteps, seed, scale=20.0))
    mean = out.mean(0) / neuron.per_channel(neuron.threshold, out[0])
    lowest, highest = neuron.model.reach(timesteps)
    assert lowest - 1e-3 <= mean.min()
    assert mean.max() <= highest + 1e-3


@every_model
@LAW
@given(st.data(), SEEDS)
def test_spikes_are_taken_back_by_whoever_says_so(cls, data, seed):
    """A strong current, then none and a strong negative one: of the spikes nothing is left."""
    model = data.draw(models_of(cls))
    neuron = layer(model, (0.0, math.inf), seed)
    neuron.v0.data, neuron.correction.data = neuron.v0.data * 0, neuron.correction.data[:0]
    drive = torch.zeros(200, 1, 3)
    drive[0], drive[1] = 20.0, -20.0 - float(neuron.threshold.max())
    spikes = spikes_of(neuron, drive)
    assert spikes.sum() > 0 or model.takes_back
    if model.takes_back and not model.sends_corrections:
        assert float(spikes.sum()) == pytest.approx(0, abs=1e-2)


@every_model
@LAW
@given(st.data(), st.integers(1, 9))
def test_events_by_packing(cls, data, size):
    model = data.draw(models_of(cls))
    spikes = torch.tensor([0.0, 1.0, -1.0, size, -size])
    found = {packing: model.events_of(spikes, packing).tolist() for packing in model.packings}
    ones = size.bit_count()
    expected = {
        "unary": [0, 1, 1, size, size],
        "binary-weighted": [0, 1, 1, ones, ones],
        "packet": [0, 1, 1, 1, 1],
    }
    assert found == {packing: expected[packing] for packing in model.packings}
    for packing in {"telepathy", *EVENTS} - set(model.packings):
        with pytest.raises(ConversionError, match="cannot be packed"):
            model.events_of(spikes, packing)


@every_model
@LAW
@given(st.data(), st.lists(st.integers(-100, 100), min_size=1))
def test_a_staircase_is_the_update(cls, data, sixteenths):
    """Its steps are those of ``count``, and ``count`` is what an unbounded step fires."""
    model = data.draw(models_of(cls)).both_signs()
    found = model.staircase()
    if found is None:
        return
    u = torch.tensor(sixteenths) / 16 + 1 / 64  # not at a step
    up = [(u > s.place) * (s.above - s.below) for s in found.steps if s.above > 0]
    down = [(u < s.place) * (s.below - s.above) for s in found.steps if s.below < 0]
    assert torch.equal(model.count(u), sum(up + down) + torch.zeros_like(u))
    neuron = NeuronLayer(model, 1, -math.inf)
    neuron.threshold.data.fill_(1.0)
    out, state = neuron(u[None, :, None])
    assert torch.equal(out.flatten(), model.count(u))
    rest = torch.zeros_like(u) if found.hard_reset else u - model.count(u)
    assert torch.equal(state.v.flatten(), torch.where(model.count(u) == 0, u, rest))


@every_model
@LAW
@given(st.data(), st.integers(-40, 40), st.integers(1, 12))
def test_t_timesteps_as_one(cls, data, sixteenths, timesteps):
    model = data.draw(models_of(cls))
    summed = model.summed(timesteps)
    if summed is None:
        return
    layers = [NeuronLayer(each, 1) for each in (model, summed)]
    for each in layers:
        each.threshold.data.fill_(1.0)
        each.v0.data.fill_(0.5)
    drive = torch.tensor([[[sixteenths / 16]]])
    out, _ = layers[0](drive.expand(timesteps, 1, 1))
    assert torch.equal(out.sum(0), layers[1](drive * timesteps)[0].sum(0))


@every_model
@LAW
@given(st.data(), st.sampled_from([1, 2, 3, 4, 8]))
def test_levels_can_be_chosen_or_that_is_refused(cls, data, levels):
    model = data.draw(models_of(cls))
    try:
        found = model.with_levels(levels)
    except ConversionError as refusal:
        assert "levels" in str(refusal)  # noqa: PT017
    else:
        assert type(found) is cls
        assert found.max_up == levels
        assert bool(found.max_down) == bool(model.max_down)


# -- names and files


@every_model
@LAW
@given(st.data())
def test_text_file_copy_and_pickle_bring_it_back(cls, data):
    model = data.draw(models_of(cls))
    assert described_model(describe_model(model)) == model
    assert copy.deepcopy(model) == pickle.loads(pickle.dumps(model)) == model
    assert hash(copy.deepcopy(model)) == hash(model)
    text = spelled(model)
    if text in KINDS or model.text == text:
        assert neuron_model(text) == model
    else:  # Python
        assert eval(text if "(" in text else f"{text}()", dict(MODELS)) == model


def test_every_kind_is_called_something_else():
    labels = {model.label for model in KINDS.values()}
    assert len(labels) == len(KINDS)
    assert all(neuron_model(name) is not None and spelled(KINDS[name]) == name for name in KINDS)


# -- in a network


@pytest.fixture
def model():
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU6()),
        *(nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten()),
        nn.Linear(512, 5),
    ).eval()


@every_kind
def test_the_output_becomes_the_source_networks(converted, model, images, kind):
    snn = converted(model, images, kind)
    with torch.no_grad():
        exact = model(images)
        errors = {T: float((snn(images, T) - exact).abs().max()) for T in (4, 32, 256, 1024)}
    assert KINDS[kind].lossless
    assert errors[1024] < 0.01 * float(exact.abs().max())
    assert errors[1024] < errors[32] < errors[4]


@every_kind
def test_the_output_does_not_depend_on_the_chunk(converted, model, images, kind):
    snn = converted(model, images, kind)
    with torch.no_grad():
        whole = snn(images, 13, chunk=13)
        for chunk in (1, 4, 12):
            assert torch.allclose(snn(images, 13, chunk=chunk), whole, atol=1e-5)


@every_kind
def test_saved_and_loaded_with_a_correction(converted, model, images, tmp_path, kind):
    snn = converted(model, images, kind)
    for neuron in snn.neurons.values():
        neuron.correction.data = torch.randn(3, neuron.channels) * 0.05
    save(snn, tmp_path / "net.snn")
    back = load(tmp_path / "net.snn")
    assert torch.equal(back(images, 7), snn(images, 7))
    assert torch.equal(copy.deepcopy(snn)(images, 7), snn(images, 7))
    for key, neuron in snn.neurons.items():
        assert back.neurons[key].model == neuron.model
        assert torch.equal(back.neurons[key].correction, neuron.correction)


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
@every_model
@LAW
@given(st.data())
def test_native_code_fires_the_same_or_is_refused(cls, data):
    """On numbers whose sums are exact in any order."""
    kind, torch_seed = data.draw(models_of(cls)), data.draw(SEEDS)
    torch.manual_seed(torch_seed)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()]
    x = torch.randint(-8, 9, (2, 3, 6, 6)) / 8
    snn = build(nn.Sequential(*layers).eval(), x, kind)
    for name, parameter in snn.named_parameters():
        fixed = {"threshold": 0.5, "v0": 0.25}.get(name.rpartition(".")[2])
        random = (torch.randn_like(parameter) * 4).round() / 8
        parameter.data = random if fixed is None else torch.full_like(parameter, fixed)
    found = {}
    for backend in ("torch", "auto", "cpu"):
        snn.backend = backend
        if backend == "cpu" and kind.native_rule is None:
            with pytest.raises(ConversionError, match="no native code for"):
                snn(x, 5)
        elif getattr(kind, "leak", 1.0) == 1:  # a leak's products are not exact
            found[backend] = torch.cat(list(snn.chunks(x, 5, 2)))
    for output in found.values():
        assert torch.equal(output, found["torch"])


@every_kind
def test_first_spikes_are_followed_or_refused(converted, model, images, kind):
    snn = converted(model, images, kind)
    snn.encoding = TimeToFirstSpike(16)
    if KINDS[kind].time_to_first_spike:
        found, exact = snn(images, 256), snn.analog(images)
        assert (found - exact).abs().max() < 0.1 * exact.abs().max()
    else:
        with pytest.raises(ConversionError, match="needs neurons that take back"):
            snn(images, 16)
