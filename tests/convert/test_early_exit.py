"""Early exit: the answers are those of the timestep at which an image stopped."""

import math

import pytest
import torch
from torch import nn

from spikeport.convert import ConversionError, Neuron, build
from spikeport.convert.neurons import KINDS
from spikeport.convert.simulation.early_exit import EarlyExit, measure
from spikeport.cpu.loader import why_unavailable

TIMESTEPS = 16
BACKENDS = [
    "torch",
    pytest.param("cpu", marks=pytest.mark.skipif(bool(why_unavailable()), reason="no engine")),
]
RULES = [
    EarlyExit("gap", 0.4),
    EarlyExit("confidence", 0.3, first=3),
    EarlyExit("entropy", 0.97, every=3),
]


class Net(nn.Module):
    """Every kind of state: neurons, a max-pool of spikes, a gate, static branches, a residual."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.side, self.head = nn.Conv2d(3, 8, 1, stride=2), nn.Linear(8, 5)
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        y = nn.functional.max_pool2d(self.stem(x).relu(), 2)
        y = nn.functional.relu6(self.conv(y) + y + self.side(x))
        y = y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(y.mean((2, 3)))


def small(calibrate, kind, delay=0.0):
    torch.manual_seed(1)
    net, x = Net().eval(), 2 * torch.randn(7, 3, 8, 8)
    net.head.weight.data.mul_(8)
    snn = calibrate(build(net, x, kind), x)
    snn.readout_delay = delay
    return snn, x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("exit", RULES, ids=str)
@pytest.mark.parametrize("kind", ["signed", "differential", "spicalib"])
def test_answers_are_those_of_the_timestep_at_which_images_stop(calibrate, kind, exit, backend):
    snn, x = small(calibrate, KINDS[kind])
    snn.double() if backend == "torch" else snn
    x = x.double() if backend == "torch" else x
    snn.backend = backend if KINDS[kind].native_rule else "auto"
    answers = snn.anytime(x, TIMESTEPS)
    scores, times = snn.early_exit(x, TIMESTEPS, exit)
    assert torch.equal(times, by_hand(exit, answers))
    expected = answers[times - 1, torch.arange(len(x))]
    # sums of floats go by another order in a batch of another size
    assert torch.allclose(scores, expected, rtol=0, atol=1e-9 if backend == "torch" else 1e-5)


def by_hand(exit, answers):
    times = torch.full((answers.shape[1],), TIMESTEPS)
    for time in reversed(range(exit.first, TIMESTEPS, exit.every)):
        times[exit.stops(answers[time - 1])] = time
    return times


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("delay", [0.0, 0.25])
def test_bit_for_bit_where_sums_are_exact(delay, backend):
    torch.manual_seed(5)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)]
    net = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(36, 5), nn.ReLU()).eval()
    snn = build(net, torch.randn(2, 3, 6, 6), Neuron(2, 2))
    for parameter in snn.parameters():
        parameter.data = torch.randint(-4, 5, parameter.shape) / 8
    for neuron in snn.neurons.values():
        neuron.threshold.data.fill_(0.5)
        neuron.v0.data.fill_(0.25)
    snn.backend, snn.readout_delay = backend, delay
    x = torch.randint(-8, 9, (9, 3, 6, 6)) / 8
    answers = snn.anytime(x, TIMESTEPS)
    scores, times = snn.early_exit(x, TIMESTEPS, EarlyExit("gap", 0.1))
    assert len(times.unique()) > 2
    assert torch.equal(scores, answers[times - 1, torch.arange(9)])
    for row, time in enumerate(times.tolist()):
        assert torch.equal(scores[row], snn(x[row : row + 1], time)[0])


@pytest.mark.parametrize("encoding", ["poisson", "frames"])
def test_images_that_stay_see_the_same_input(encoding, calibrate):
    snn, x = small(calibrate, Neuron(2, 2))
    snn.double().encoding = encoding
    x = x.double()
    if encoding == "frames":
        x = x[:, None] + torch.randn(len(x), TIMESTEPS, *x.shape[1:])
    answers = snn.anytime(x, TIMESTEPS)
    scores, times = snn.early_exit(x, TIMESTEPS, EarlyExit("gap", 0.4, first=2))
    assert len(times.unique()) > 1
    assert torch.allclose(scores, answers[times - 1, torch.arange(7)], rtol=0, atol=1e-9)


def test_images_that_have_stopped_are_not_simulated(calibrate):
    snn, x = small(calibrate, Neuron(1, 1))
    seen = []

    def watch(name, emitted):
        if name == next(iter(snn.neurons)):
            seen.extend([emitted.values().shape[1]] * emitted.timesteps)

    _, times = snn.early_exit(x, TIMESTEPS, EarlyExit("gap", 0.4), watch=watch)
    assert len(times.unique()) > 1
    assert seen == [int((times > t).sum()) for t in range(int(times.max()))]


def test_what_the_rules_measure():
    scores = torch.tensor([[1.0, 4.0, 3.0], [0.0, 0.0, 0.0]])
    assert measure("gap", scores).tolist() == [1.0, 0.0]
    assert measure("confidence", scores)[1] == pytest.approx(1 / 3)
    assert measure("entropy", scores)[1] == pytest.approx(1.0)
    p = scores[0].softmax(0)
    assert measure("entropy", scores)[0] == pytest.approx(float(-(p * p.log()).sum()) / math.log(3))
    assert EarlyExit("gap", 1.0).stops(scores).tolist() == [True, False]
    assert EarlyExit("confidence", 0.5).stops(scores).tolist() == [True, False]
    assert EarlyExit("entropy", 0.9).stops(scores).tolist() == [True, False]


def test_a_rule_that_never_fires_or_always_does(calibrate):
    snn, x = small(calibrate, Neuron(1, 1))
    _, never = snn.early_exit(x, 6, EarlyExit("gap", math.inf))
    assert never.tolist() == [6] * 7
    _, always = snn.early_exit(x, 6, EarlyExit("gap", 0.0, first=4))
    assert always.tolist() == [4] * 7
    _, late = snn.early_exit(x, 3, EarlyExit("gap", 0.0, first=4))
    assert late.tolist() == [3] * 7


def test_what_is_wrong_is_refused(calibrate):
    for options in ({"rule": "best"}, {"threshold": math.nan}, {"first": 0}, {"every": 1.5}):
        with pytest.raises(ConversionError, match="expected"):
            EarlyExit(**({"rule": "gap", "threshold": 1.0} | options))
    maps = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)).eval()
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ConversionError, match="classifier"):
        calibrate(build(maps, x, Neuron(1, 1)), x).early_exit(x, 2, EarlyExit("gap", 1.0))
