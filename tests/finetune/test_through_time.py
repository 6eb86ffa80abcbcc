"""Ways to take the gradient over time, against their definitions."""

import pytest
import torch
from torch import nn

from spikeport.convert import ConversionError, Neuron
from spikeport.finetune.gradient.record import Record
from spikeport.finetune.gradient.through_time import (
    STATISTICS,
    learn_online,
    present,
    present_at_once,
)
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable
from spikeport.scripts.experiments.finetune_memory import measure

T = 5


def of_outputs(record: Record) -> torch.Tensor:
    """A loss that is not linear in time."""
    return record.answer.square().sum() + record.outputs.sin().sum()


def everything(record: Record) -> torch.Tensor:
    """The same with all that a record holds."""
    rates = sum(value.square().mean() for part in record.noted for value in part.values())
    return of_outputs(record) + rates


def gradients(network):
    return {n: v.grad.clone() for n, v in network.named_parameters() if v.grad is not None}


@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("kind", ["if", "signed"])
def test_checkpoints_do_not_change_the_gradient(kind, chunk, converted):
    layers = [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 1), nn.ReLU6()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(36, 3))
    images = torch.randn(3, 2, 8, 8)
    network = make_trainable(converted(model, images, kind), Surrogate())
    found = []
    for size in (None, chunk):
        network.zero_grad()
        everything(present(network, images, T, STATISTICS, size)).backward()
        found.append(gradients(network))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["if", "signed", "multi-level"])
def test_at_once_a_layer_gives_the_mean_over_the_timesteps(kind, converted):
    """Under a constant current; ReLU6 bounds signed neurons on both sides."""
    x = 3 * torch.randn(64, 5)
    layers = [nn.Linear(5, 6), nn.ReLU(), nn.ReLU6()]
    network = make_trainable(converted(nn.Sequential(*layers[::2]), x[:32], kind), Surrogate())
    (neuron,) = network.neurons.values()
    with torch.no_grad():
        found = present_at_once(network, x, T, frozenset({"rates"}))
        slow = present(network, x, T, frozenset({"rates"}))
        current = network.get_submodule("0")(x)
        theta, v0 = neuron.threshold, neuron.v0
        n = ((T * current + v0) / theta).floor().clamp(0, T * neuron.model.max_up)
    torch.testing.assert_close(found.answer, slow.answer)
    if kind == "if":
        torch.testing.assert_close(found.answer, n * theta / T)
        torch.testing.assert_close(found.firing_rate, slow.firing_rate)
    torch.testing.assert_close(found.rates["1"], found.answer)
    assert float(found.firing_rate.mean()) > 0


def test_at_once_the_memory_bounds_the_sum(converted):
    """A ReLU6 whose neurons could give twice as much."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU6())
    nn.init.ones_(model[0].weight)
    plain = converted(model, torch.ones(4, 1), "multi-level")
    plain.neurons["1"].threshold.data.fill_(3.0)
    network = make_trainable(plain, Surrogate())
    x = 100 * torch.tensor([[-1.0], [1.0]])
    found = present_at_once(network, x, T).answer
    torch.testing.assert_close(found, present(network, x, T).answer)
    assert found.max().item() == pytest.approx(6)


def test_at_once_the_gradient_is_that_of_the_mean(converted):
    """Triangles add up to a slope of 1 between the first step and the last."""
    x = torch.linspace(-1, 3, 101)[:, None]
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    nn.init.ones_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    network = make_trainable(converted(model, torch.ones(4, 1), "if"), Surrogate())
    current = x[None].clone().requires_grad_()
    found = network.neurons["1"].fire_at_once(current, T)
    found.emitted.sum().backward()
    u = (T * x[:, 0] + network.neurons["1"].v0) / network.neurons["1"].threshold
    slope = current.grad[0, :, 0]
    torch.testing.assert_close(slope[(u > 1) & (u < T)], torch.ones(int(((u > 1) & (u < T)).sum())))
    assert bool((slope[(u <= 0) | (u >= T + 1)] == 0).all())


def test_at_once_corrections_count_with_their_sum(converted):
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    x = torch.randn(5, 3)
    plain = converted(model, x, "if")
    neuron = plain.neurons["1"]
    neuron.correction.data = 0.1 * torch.randn(T + 2, 2)
    network = make_trainable(plain, Surrogate())
    found = present_at_once(network, x, T).answer
    network.get_submodule("0").bias.data += neuron.correction[:T].mean(0)
    network.neurons["1"].correction.data.zero_()
    torch.testing.assert_close(found, present_at_once(network, x, T).answer)


def slow_spikes(u):
    """A binary spike with a triangle of width 1."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u >= 1).to(u)

        @staticmethod
        def backward(ctx, grad):
            (u,) = ctx.saved_tensors
            return grad * (1 - (u - 1).abs()).clamp_min(0)

    return Spike.apply(u)


def definition(network, images, leak, method):
    """The gradients of a network of two hidden layers, by the papers' formulas."""
    weights = [network.get_submodule(name) for name in ("0", "2", "4")]
    neurons = [network.neurons[name] for name in ("1", "3")]
    leaves = [
        value.detach().clone().requires_grad_() for m in weights for value in (m.weight, m.bias)
    ]
    W, b = leaves[::2], leaves[1::2]
    potentials = [n.v0.detach().expand(len(images), -1) for n in neurons]
    traces = [torch.zeros_like(images), *(torch.zeros_like(p) for p in potentials)]
    ones, outputs = 0.0, []
    for _ in range(T):
        x, ones = images, leak * ones + 1
        for layer in range(3):
            traces[layer] = leak * traces[layer] + x.detach()
            current = x @ W[layer].T + b[layer]
            if method == "ottt":  # eq. 9: the weight meets the trace, the input its spikes
                presynaptic = traces[layer] @ W[layer].T + ones * b[layer]
                current = x @ W[layer].detach().T + b[layer].detach()
                current = current + presynaptic - presynaptic.detach()
            if layer == 2:
                outputs.append(current)
                break
            theta = neurons[layer].threshold.detach()
            v = leak * potentials[layer] + current
            spikes = slow_spikes(v / theta)
            potentials[layer] = (v - spikes * theta).detach()
            x = spikes * theta
    record = Record(torch.stack(outputs), {}, {}, {}, {}, {})
    return torch.autograd.grad(of_outputs(record), leaves)


@pytest.mark.parametrize("method", ["sltt", "ottt"])
@pytest.mark.parametrize("leak", [1.0, 0.7])
def test_online_gradients_are_those_of_the_definitions(method, leak, images, converted):
    layers = [nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)]
    network = make_trainable(
        converted(nn.Sequential(*layers), images, Neuron(leak=leak)), Surrogate()
    )
    expected = definition(network, images, leak, method)
    record = learn_online(network, images, T, frozenset(), of_outputs, method)
    torch.testing.assert_close(record.outputs, present(network, images, T).outputs)
    names = [f"{place}.{kind}" for place in (0, 2, 4) for kind in ("weight", "bias")]
    found = dict(network.named_parameters())
    for name, value in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name].grad, value, rtol=1e-4, atol=1e-6)


def test_one_timestep_is_the_same_in_every_way(small, images):
    network = make_trainable(small, Surrogate())
    everything(present(network, images, 1, STATISTICS)).backward()
    expected = gradients(network)
    for method in ("sltt", "ottt"):
        network.zero_grad()
        learn_online(network, images, 1, STATISTICS, everything, method)
        for name, value in gradients(network).items():
            torch.testing.assert_close(value, expected[name])


def test_traces_reach_initial_potentials_and_corrections(images, converted):
    """With one layer and no reset in the way, OTTT's gradient is that of BPTT."""
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    network = converted(model, images, Neuron(leak=0.8))
    network.neurons["1"].correction.data = 0.1 * torch.randn(3, 6)
    network = make_trainable(network, Surrogate())
    present(network, images, T).answer.square().sum().backward()
    expected = gradients(network)
    network.zero_grad()
    learn_online(network, images, T, frozenset(), lambda r: r.answer.square().sum(), "ottt")
    for name in ("1.potential", "1.correction", "0.weight", "0.bias"):
        torch.testing.assert_close(gradients(network)[name], expected[name], rtol=1e-4, atol=1e-6)


def test_ottt_refuses_leaks_that_differ(small, images):
    network = make_trainable(small, Surrogate())
    network.neurons["1"].leak.data.fill_(0.5)
    with pytest.raises(ConversionError, match="one constant leak"):
        learn_online(network, images, T, frozenset(), everything, "ottt")


def test_memory_over_time():
    few, some, many = measure(4), measure(20), measure(36)
    growth = [more["BPTT"] - less["BPTT"] for less, more in ((few, some), (some, many))]
    assert growth[0] == pytest.approx(growth[1], rel=0.02)
    assert growth[0] > 2 * few["BPTT"]
    assert many["BPTT, chunks of √T"] < 4 * few["BPTT, chunks of √T"]
    assert many["SLTT"] < 1.05 * few["SLTT"]
    assert many["OTTT"] < 1.05 * few["OTTT"]
