"""The passes of our own: late biases, delayed readout, the choice among candidates."""

import pytest
import torch
from torch import nn

from spikeport.calibration import (
    RECIPES,
    BestOf,
    BiasOnset,
    BiasOverTime,
    DelayedReadout,
    InitialPotential,
    MaxThreshold,
    PercentileThreshold,
    RelativePotential,
    calibrate,
)
from spikeport.calibration.best_of import _earliest
from spikeport.convert import KINDS, ConversionError, Neuron, build
from spikeport.convert.saving.container import load, save

PLAIN = (PercentileThreshold(), InitialPotential())


@pytest.fixture
def deep():
    """Ten layers with biases that matter."""
    torch.manual_seed(0)
    layers = []
    for _ in range(10):
        layers += [nn.Linear(48, 48), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)
        nn.init.normal_(layers[-2].bias, 0, 0.5)
    return nn.Sequential(*layers, nn.Linear(48, 10)).eval()


@pytest.fixture
def data():
    torch.manual_seed(1)
    return [torch.randn(32, 48) for _ in range(4)]


def distance(snn, x, timesteps):
    """1 − cos of the answers, each less its mean."""
    answers = [snn(x, timesteps=timesteps), snn.analog(x)]
    answers = [answer - answer.mean(1, keepdim=True) for answer in answers]
    return float(1 - torch.cosine_similarity(*answers, 1).mean())


def test_biases_that_come_with_the_spikes_keep_the_answer(deep, data):
    plain, late = build(deep, data[0], Neuron(1, 1)), build(deep, data[0], Neuron(1, 1))
    calibrate(plain, data, PLAIN, progress=False)
    calibrate(late, data, [*PLAIN, BiasOnset(timesteps=16)], progress=False)
    x = torch.randn(64, 48)
    assert distance(late, x, 16) < distance(plain, x, 16)


def test_the_first_layer_has_its_input_from_the_start(deep, data):
    snn = build(deep, data[0], Neuron(1, 1))
    calibrate(snn, data, [*PLAIN, BiasOnset(timesteps=8)], progress=False)
    first, *_, last = snn.neurons.values()
    assert float(first.correction.abs().max()) < 1e-5
    assert float(last.correction[0].abs().max()) > 0.1


def test_late_biases_end_with_the_images_that_they_need(deep, data):
    few, all_of_them = build(deep, data[0], Neuron(1, 1)), build(deep, data[0], Neuron(1, 1))
    for snn, images in ((few, data[:1]), (all_of_them, data)):
        calibrate(snn, data, PLAIN, progress=False)
        calibrate(snn, images, [BiasOnset(timesteps=8)], progress=False)
    for name, neuron in few.neurons.items():
        assert torch.equal(neuron.correction, all_of_them.neurons[name].correction)


def test_late_biases_of_fewer_timesteps_are_the_first_of_more(deep, data):
    short, long = build(deep, data[0], Neuron(1, 1)), build(deep, data[0], Neuron(1, 1))
    for snn, timesteps in ((short, 4), (long, 8)):
        calibrate(snn, data[:1], [*PLAIN, BiasOnset(timesteps=timesteps)], progress=False)
    for name, neuron in short.neurons.items():
        more = long.neurons[name].correction
        torch.testing.assert_close(neuron.correction, more[:4], rtol=1e-3, atol=1e-4)


def shortfall(snn, x, timesteps):
    """What channels emit less than the layer's share of the source's, mean over the network."""
    sums, sources = {}, {}

    def add(name, emitted, first):
        sums[name] = sums.get(name, 0.0) + emitted.sum(0)

    list(snn.chunks(x, timesteps, observe=add))
    snn.analog(x, lambda name, current: sources.update({name: current.clamp_min(0)}))
    missing = []
    for name, source in sources.items():
        emitted = sums[name] / timesteps
        share = (emitted * source).sum() / source.square().sum()
        missing.append((share * source - emitted).mean(0).abs().mean())
    return float(torch.stack(missing).mean())


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_relative_potentials_make_channels_fall_short_alike(deep, data, neuron):
    snn = build(deep, data[0], KINDS[neuron])
    passes = [*PLAIN, BiasOnset(timesteps=16)]
    calibrate(snn, data, passes, progress=False)
    before = shortfall(snn, data[0], 16)
    calibrate(snn, data, [*passes, RelativePotential(timesteps=16)], progress=False)
    assert shortfall(snn, data[0], 16) < 0.6 * before


def test_a_layer_that_falls_short_alike_keeps_its_potentials(data):
    """The same weights for all channels: they differ by nothing but the layer's factor."""
    first = nn.Linear(48, 8)
    first.weight.data[:] = first.weight.data[:1]
    first.bias.data[:] = 0.3
    net = nn.Sequential(first, nn.ReLU(), nn.Linear(8, 4), nn.Linear(4, 4), nn.ReLU()).eval()
    snn = build(net, data[0], Neuron(1, 0))
    passes = [*PLAIN, RelativePotential(timesteps=4)]
    calibrate(snn, data, PLAIN, progress=False)
    before = [neuron.v0.clone() for neuron in snn.neurons.values()]
    calibrate(snn, data[:1], passes, progress=False)
    shifts = [n.v0 - v0 for n, v0 in zip(snn.neurons.values(), before, strict=True)]
    assert float(shifts[0].std()) < 1e-5
    assert any(neuron.low < 0 for neuron in snn.neurons.values())
    for neuron, shift in zip(snn.neurons.values(), shifts, strict=True):
        assert neuron.low == 0 or not bool(shift.any())


def test_relative_potentials_with_a_threshold_for_each_neuron():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)).eval()
    images = [torch.randn(4, 3, 6, 6)]
    snn = build(net, images[0], KINDS["if"])
    passes = [MaxThreshold(scope="neuron"), InitialPotential(), RelativePotential(timesteps=4)]
    calibrate(snn, images, passes, progress=False)
    (neuron,) = snn.neurons.values()
    shift = neuron.v0 - neuron.threshold / 2
    assert neuron.v0.shape == (4, 4, 4)
    torch.testing.assert_close(shift, shift[:, :1, :1].expand_as(shift))
    assert float(shift.abs().max()) > 0


def test_a_delayed_readout_is_the_mean_of_the_last_timesteps(deep, data):
    snn = build(deep, data[0], Neuron(1, 1))
    calibrate(snn, data, PLAIN, progress=False)
    steps = torch.cat(list(snn.chunks(data[0], 16)))
    calibrate(snn, data, [*PLAIN, DelayedReadout(0.25)], progress=False)
    expected = torch.stack([steps[T // 4 : T].mean(0) for T in range(1, 17)])
    torch.testing.assert_close(snn.anytime(data[0], 16), expected, rtol=1e-4, atol=1e-4)
    for timesteps, answer in snn.readouts(data[0], [1, 5, 16], chunk=3):
        torch.testing.assert_close(answer, expected[timesteps - 1], rtol=1e-4, atol=1e-4)


def test_a_delay_is_saved_and_a_recipe_without_one_takes_it_away(deep, data, tmp_path):
    snn = build(deep, data[0], Neuron(1, 1))
    calibrate(snn, data, [*PLAIN, DelayedReadout(0.5)], progress=False)
    save(snn, tmp_path / "net.snn")
    assert load(tmp_path / "net.snn").readout_delay == 0.5
    calibrate(snn, data, PLAIN, progress=False)
    assert snn.readout_delay == 0


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_delay_is_a_share(share):
    with pytest.raises(ConversionError, match="0 <= share < 1"):
        DelayedReadout(share)


def test_the_better_candidate_wins_on_images_it_has_not_seen(deep, data):
    poor = (PercentileThreshold(20.0), InitialPotential(0.0))
    snn, alone = build(deep, data[0], Neuron(4, 4)), build(deep, data[0], Neuron(4, 4))
    calibrate(snn, data, [BestOf(8, (poor, PLAIN))], progress=False)
    errors = [trial["error"] for trial in snn.info["trials"]]
    assert errors[1] < errors[0]
    kept = [torch.cat([x[[i for i in range(32) if i % 4 != 3]] for x in data])]
    calibrate(alone, kept, PLAIN, progress=False)
    for name, neuron in alone.neurons.items():
        torch.testing.assert_close(neuron.threshold, snn.neurons[name].threshold)


def test_a_delay_has_to_be_better_than_luck():
    errors = {0.0: torch.tensor([0.9, 1.1, 1.0, 1.1]), 0.25: torch.tensor([1.0, 1.0, 1.0, 1.0])}
    assert _earliest(errors) == 0
    assert _earliest({0.0: torch.full((4,), 1.2), 0.25: torch.full((4,), 1.0)}) == 0.25
    assert _earliest({0.0: torch.tensor([2.0]), 0.25: torch.tensor([1.0])}) == 0.25


def test_candidates_start_from_the_same_network(deep, data):
    one = (*PLAIN, BiasOverTime(timesteps=8))
    snn = build(deep, data[0], Neuron(1, 1))
    calibrate(snn, data, [BestOf(8, (one, PLAIN, one))], progress=False)
    first, _, again = (trial["error"] for trial in snn.info["trials"])
    assert first == pytest.approx(again, rel=1e-5)


def test_too_few_images_to_hold_some_out(deep, data):
    snn = build(deep, data[0][:3], Neuron(1, 1))
    with pytest.raises(ConversionError, match="pass more images"):
        calibrate(snn, [data[0][:3]], "best", timesteps=4, progress=False)


def test_the_default_depends_on_the_network_and_the_t(deep, data):
    def names(model, neuron, timesteps, task=None):
        snn = build(model, data[0], neuron)
        snn.info["task"] = task
        return {type(one).__name__ for one in RECIPES["default"].passes(snn, timesteps)}

    assert names(deep, KINDS["if"], 0) == {"ReachThreshold", "InitialPotential"}
    assert {"BiasOverTime", "DelayedReadout"} <= names(deep, KINDS["if"], 32)
    assert "DelayedReadout" not in names(deep, KINDS["signed"], 16)
    assert names(deep, KINDS["differential"], 4) == {"GaussianThreshold"}
    six = nn.Sequential(nn.Linear(48, 48), nn.ReLU6(), nn.Linear(48, 10)).eval()
    assert names(six, KINDS["differential"], 4) == {"GaussianThreshold"}
    assert "BiasOnset" in names(six, KINDS["signed"], 32)
    assert "BiasOnset" not in names(six, Neuron(8, 8), 8)
    assert "DelayedReadout" not in names(six, KINDS["signed"], 32)
    assert "DelayedReadout" in names(six, KINDS["if"], 32)
    many = nn.Sequential(*(nn.Sequential(nn.Linear(48, 48), nn.ReLU6()) for _ in range(32))).eval()
    assert {"BiasOnset", "RelativePotential"} < names(many, KINDS["signed"], 0)
    assert "BiasOnset" not in names(many, KINDS["signed"], 0, task="values")
    assert "DelayedReadout" in names(many, KINDS["if"], 0)
    assert "DelayedReadout" not in names(many, KINDS["signed"], 0)
    assert "BiasOnset" not in names(six, KINDS["signed"], 0) | names(many, Neuron(4, 4), 0)


@pytest.mark.parametrize(
    ("neuron", "timesteps", "expected"),
    [
        (KINDS["signed"], 64, ["PercentileThreshold", "InitialPotential", "ThresholdTuning"]),
        (Neuron(8, 8), 8, ["PercentileThreshold", "InitialPotential", "ThresholdTuning"]),
        (KINDS["if"], 32, ["BestOf"]),
    ],
)
def test_the_best_for_known_ranges_is_tuned(data, neuron, timesteps, expected):
    six = nn.Sequential(nn.Linear(48, 48), nn.ReLU6(), nn.Linear(48, 10)).eval()
    passes = RECIPES["best"].passes(build(six, data[0], neuron), timesteps)
    late = [one for one in passes if isinstance(one, (BiasOnset, RelativePotential))]
    assert [type(one).__name__ for one in passes if one not in late] == expected
    assert [one.timesteps for one in late] == ([32, 32] if neuron == KINDS["signed"] else [])
