"""Trainable neurons: the same spikes, the right gradients, and the way back."""

import math
from functools import partial

import pytest
import torch

from spikeport.convert import ConversionError, Neuron, NeuronLayer
from spikeport.convert.neurons import KINDS, MultiThreshold
from spikeport.convert.saving.container import load, save
from spikeport.finetune.neuron import scan
from spikeport.finetune.neuron.surrogates import SHAPES, Surrogate
from spikeport.finetune.neuron.trainable import TrainableNeuron, make_trainable, plain
from tests.finetune.slow_neuron import ladder, powers, run

T = 5
MODELS = {
    "if": Neuron(1, 0),
    "burst": Neuron(3, 0),
    "signed": Neuron(1, 1),
    "multi-level": Neuron(3, 3),
    "leaky": Neuron(2, 1, leak=0.8),
    "hard": Neuron(1, 0, leak=0.9, hard_reset=True),
    "hard, signed": Neuron(2, 2, leak=0.9, hard_reset=True),
    "multi-threshold": MultiThreshold(3),
    "unsigned powers": MultiThreshold(3, signed=False),
}
RANGES = {"relu": (0.0, math.inf), "relu6": (0.0, 1.5), "linear": (-math.inf, math.inf)}


def layer(model, low, high, dtype):
    neuron = NeuronLayer(model, 7, low, high).to(dtype)
    neuron.threshold.data = torch.rand(7, dtype=dtype) + 0.5
    neuron.v0.data = neuron.threshold * (torch.rand(7, dtype=dtype) * 1.4 - 0.5)
    return neuron


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("span", RANGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_it_emits_what_its_kind_emits(kind, span, dtype):
    neuron = layer(MODELS[kind], *RANGES[span], torch.float32)
    neuron.correction.data = 0.3 * torch.randn(2, 7)
    ours = TrainableNeuron(neuron, Surrogate(), learn_leak=False)
    again = ours.plain()  # the rounding of the logarithms is behind it
    current = (2 * torch.randn(8, 50, 7)).to(dtype)
    (first, state), (second, after) = again(current[:3]), ours(current[:3])
    assert torch.equal(first, second)
    assert second.dtype == dtype
    first, state = again(current[3:], state)
    second, after = ours(current[3:], after)
    assert torch.equal(first, second)
    assert torch.equal(state.v, after.v)
    torch.testing.assert_close(again.threshold, neuron.threshold)
    torch.testing.assert_close(again.v0, neuron.v0)


def slowly(kind, span, shape, width, detach, index, values):
    """Emissions and their slopes of channel ``index``."""
    model, (low, high) = MODELS[kind], RANGES[span]
    linear = low < 0
    if isinstance(model, MultiThreshold):
        steps = powers(model.exponents, model.signed or linear)
    else:
        down = max(model.max_up, model.max_down) if linear else model.max_down
        steps = ladder(model.max_up, down, model.hard_reset)
    down = -min(below for _, below, _ in steps)
    up = max(above for _, _, above in steps)
    theta, share, current = values
    return run(
        steps,
        shape,
        width,
        current,
        theta,
        share,
        getattr(model, "leak", 1.0),
        0.0 if not linear and down else None,
        high if high < up * theta else None,
        detach,
        getattr(model, "hard_reset", False),
    )


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("width", [0.7, 1.6])  # bumps beside each other meet, or more of them do
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("span", RANGES)
@pytest.mark.parametrize("kind", MODELS)
def test_its_gradient_is_that_of_a_slow_neuron(kind, span, shape, width, detach):
    neuron = layer(MODELS[kind], *RANGES[span], torch.float64)
    neuron.threshold.data.clamp_(max=1.4)  # so that a ReLU6's bound is one for every channel
    surrogate = Surrogate(shape, width, detach_reset=detach)
    learn_leak = isinstance(MODELS[kind], Neuron)
    ours = TrainableNeuron(neuron, surrogate, learn_leak)
    current = (1.5 * torch.randn(T, 1, 7, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(T, 7, dtype=torch.float64)
    emitted, _ = ours(current)
    (emitted[:, 0] * weights).sum().backward()
    share = ours.potential.detach()
    leak_slope = 0.0
    for index in range(7):
        values = (ours.threshold[index].item(), share[index].item(), current[:, 0, index].tolist())
        slow = slowly(kind, span, shape, width, detach, index, values)
        assert [one.value for one in slow] == pytest.approx(emitted[:, 0, index].tolist())
        slopes = [
            sum(float(weights[t, index]) * slow[t].slope[place] for t in range(T))
            for place in range(3 + T)
        ]
        assert float(ours.log_threshold.grad[index]) == pytest.approx(slopes[0], abs=1e-9)
        assert float(ours.potential.grad[index]) == pytest.approx(slopes[1], abs=1e-9)
        assert current.grad[:, 0, index].tolist() == pytest.approx(slopes[3:], abs=1e-9)
        leak_slope += slopes[2]
    if learn_leak:
        assert float(ours.leak.grad) == pytest.approx(leak_slope, abs=1e-9)


def gradients(ours, current):
    """Emissions, their spikes, and the gradients of a weighted sum."""
    weights = torch.randn(current.shape, generator=torch.Generator().manual_seed(1)).double()
    for value in ours.parameters():
        value.grad = None
    current = current.detach().requires_grad_()
    found, _ = ours.fire(current, None)
    ((found.emitted * weights).sum() + 0.1 * found.spikes.square().sum()).backward()
    moving = [value.grad for value in ours.parameters() if value.requires_grad]
    return [found.emitted, found.spikes, found.v, current.grad, *moving]


def pictures(kind, span):
    """A layer on images, and a current for it, [T, B, C, H, W]."""
    neuron = layer(MODELS[kind], *RANGES[span], torch.float64)
    neuron.correction.data = 0.3 * torch.randn(2, 7, dtype=torch.float64)
    ours = TrainableNeuron(neuron, Surrogate(), isinstance(neuron.model, Neuron))
    return ours, 1.5 * torch.randn(T, 4, 7, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize("span", RANGES)
@pytest.mark.parametrize("kind", MODELS)
def test_channels_side_by_side_in_memory_change_nothing_and_stay(kind, span):
    ours, current = pictures(kind, span)
    beside = current.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    wanted, found = gradients(ours, current), gradients(ours, beside.unflatten(0, (T, -1)))
    for one, other in zip(wanted[:3], found[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(wanted[3:], found[3:])
    assert found[0].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", MODELS)
def test_half_currents_have_the_gradient_of_wide_ones(kind):
    neuron = layer(MODELS[kind], *RANGES["relu"], torch.float32)
    neuron.correction.data = 0.3 * torch.randn(2, 7)
    ours = TrainableNeuron(neuron, Surrogate(), isinstance(neuron.model, Neuron))
    current = (1.5 * torch.randn(T, 20, 7)).bfloat16()
    wanted, found = gradients(ours, current.float()), gradients(ours, current)
    assert found[0].dtype == found[3].dtype == torch.bfloat16
    assert torch.equal(found[1], wanted[1])  # spikes
    assert torch.equal(found[2], wanted[2])  # potentials, in float32
    for half, wide in zip(found, wanted, strict=True):
        near = 1e-2 * float(wide.detach().abs().max())
        torch.testing.assert_close(half.float(), wide, rtol=1e-2, atol=near)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
def test_compiled_it_does_the_same(dtype, backend, monkeypatch):
    scan._compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    ours, current = pictures("signed", "relu6")
    current = current[:2].to(dtype)  # compiling more takes longer
    if dtype == torch.bfloat16:
        ours.float()
    wanted = gradients(ours, current)
    ours.compiled = True
    eager = []
    monkeypatch.setattr(scan, "_fire_in_parts", lambda *_: eager.append(1))
    monkeypatch.setattr(scan, "_backward_in_parts", lambda *_: eager.append(1))
    found = gradients(ours, current)
    scan._compiled.cache_clear()
    assert not eager
    torch.testing.assert_close(wanted, found)


def test_without_a_compiler_it_says_so(monkeypatch):
    def missing(*_):
        raise OSError("no compiler")

    scan._compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=missing))
    ours, current = pictures("if", "relu")
    ours.compiled = True
    with pytest.raises(ConversionError, match=r"no compiler; install .* compiled=True"):
        ours(current)
    scan._compiled.cache_clear()


@pytest.mark.parametrize("kind", [name for name, model in KINDS.items() if model.staircase()])
def test_a_network_there_and_back_gives_the_same_answers_and_a_file(
    kind, images, converted, tmp_path
):
    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    network = converted(model, images, kind)
    back = plain(make_trainable(network, Surrogate()))
    torch.testing.assert_close(back(images, 4), network(images, 4))
    save(back, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn")(images, 4), back(images, 4))
    assert not any(value.requires_grad for value in back.parameters())


@pytest.mark.parametrize("kind", MODELS)
def test_every_number_of_a_layer_comes_back(kind):
    neuron = layer(MODELS[kind], 0.0, 1.5, torch.float32)
    for parameter in neuron.parameters():  # those without elements too: an activation has levels
        shape = (2, 7) if parameter is neuron.correction else (7,)
        parameter.data = parameter.data if parameter.numel() else torch.rand(shape) + 0.1
    ours = TrainableNeuron(neuron, Surrogate(), learn_leak=False)
    torch.testing.assert_close(dict(ours.plain().state_dict()), dict(neuron.state_dict()))
    x = 2 * torch.randn(5, 7)
    assert torch.equal(ours.analog(x), neuron.analog(x))


def test_a_learned_leak_comes_back_in_the_spec(small):
    network = make_trainable(small, Surrogate(), learn_leak=True)
    for layer in network.neurons.values():
        layer.leak.data.fill_(1.2)
        layer.project()
        assert layer.leak.item() == 1
        layer.leak.data.fill_(0.75)
    assert {layer.model for layer in plain(network).neurons.values()} == {Neuron(leak=0.75)}


@pytest.mark.parametrize("kind", [name for name, model in KINDS.items() if not model.staircase()])
def test_neurons_without_a_staircase_are_refused(kind, images, converted):
    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    with pytest.raises(ConversionError, match="layer '1': .*Convert with neuron="):
        make_trainable(converted(model, images, KINDS[kind]), Surrogate())


def test_a_negative_initial_potential_is_trained_like_others(small):
    """The default recipe makes them (RelativePotential)."""
    small.neurons["1"].v0.data[0] = -0.3
    network = make_trainable(small, Surrogate())
    again = plain(network)
    torch.testing.assert_close(again.neurons["1"].v0, small.neurons["1"].v0)
    with torch.no_grad():
        network.neurons["1"].log_threshold += math.log(2)  # v0 keeps its place below θ
    assert plain(network).neurons["1"].v0[0].item() == pytest.approx(-0.6)
