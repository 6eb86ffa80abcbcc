"""A quantized network compiled as a whole: it is what it is layer by layer."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

import spikeport as sp
from spikeport.finetune.gradient import compiled_graph as one_graph
from spikeport.finetune.gradient import through_time
from spikeport.finetune.gradient.batch_norms import keep_norms
from spikeport.finetune.gradient.through_time import STATISTICS, TimeLoop, present_at_once
from spikeport.finetune.neuron import scan
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable
from spikeport.finetune.training.optimization import Optimization
from spikeport.finetune.training.training import set_compiled
from spikeport.scripts.bench import training_step
from spikeport.scripts.experiments import finetune_speed

T = 3
inductor = pytest.param("inductor", marks=pytest.mark.slow)


class Branches(nn.Module):
    """With a parameter of its own, a sum of branches, a max-pool and a size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.other = nn.ReLU(), nn.ReLU()
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = self.other(self.second(x) + self.gain * x)
        return self.head(self.pool(x).view(x.size(0), -1))


@pytest.fixture(params=["aot_eager", inductor])
def compile_quickly(request, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=request.param))
    torch._dynamo.reset()
    scan._compiled.cache_clear()
    yield
    torch._dynamo.reset()
    scan._compiled.cache_clear()


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(6, 2, 4, 4)


def learned(network, loop, images):
    """All numbers of a record, and the gradients of a loss that reads all of them."""
    network.zero_grad()
    record = loop(images)
    sum(value.square().sum() for value in record.tensors()).backward()
    grads = {n: v.grad.clone() for n, v in network.named_parameters() if v.grad is not None}
    return record.each(torch.Tensor.detach), grads


@pytest.mark.parametrize(("kind", "norm"), [("if", False), ("burst", True)])
def test_it_gives_the_same_numbers_and_gradients(kind, norm, pictures, converted, compile_quickly):
    wants = STATISTICS
    network = make_trainable(converted(Branches().double(), pictures.double(), kind), Surrogate())
    images = pictures.double()
    if norm:
        keep_norms(network, [images], T, "batch", True)
        set_compiled(network, True)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    wanted, grads = learned(network, lambda x: present_at_once(network, x, T, wants), images)
    running = {name: value.clone() for name, value in network.named_buffers()}
    network.load_state_dict(before)
    loop = TimeLoop(network, True, True)
    found, its = learned(network, lambda x: loop(x, T, wants, None), images)
    assert loop.one_graph.compiled
    assert found.neurons == wanted.neurons
    torch.testing.assert_close(found.outputs, wanted.outputs)
    for one, other in zip(found.noted, wanted.noted, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(its, grads)
    torch.testing.assert_close(dict(network.named_buffers()), running)


def test_a_batch_of_another_size_is_not_compiled(pictures, converted, compile_quickly):
    network = make_trainable(converted(Branches(), pictures, "if"), Surrogate())
    graph = one_graph.OneGraph(network)
    assert graph.present(pictures, T, frozenset()) is not None
    assert graph.present(pictures[:2], T, frozenset()) is None
    loop = TimeLoop(network, True, True)
    loop.one_graph = graph
    wanted = present_at_once(network, pictures[:2], T)
    torch.testing.assert_close(loop(pictures[:2], T, frozenset(), None).answer, wanted.answer)


class DecidesByShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x) if x.shape[2] == 4 else x


@pytest.mark.parametrize(
    ("model", "kind", "surrogate"),
    [
        (DecidesByShape(), "if", Surrogate()),
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU()), "if", Surrogate(final_width=0.5)),
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU()), "signed", Surrogate()),
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU6()), "if", Surrogate()),
    ],
    ids=["shape", "width", "signed", "relu6"],
)
def test_what_cannot_be_one_graph_is_run_layer_by_layer(
    model, kind, surrogate, pictures, converted
):
    network = make_trainable(converted(model, pictures, kind), surrogate)
    assert not one_graph.can_be_one_graph(network)
    found = TimeLoop(network, True, True)(pictures, T, frozenset(), None)
    torch.testing.assert_close(found.answer, present_at_once(network, pictures, T).answer)


def test_several_processes_do_not_take_it(pictures, converted, monkeypatch):
    network = make_trainable(converted(Branches(), pictures, "if"), Surrogate())
    assert one_graph.can_be_one_graph(network)
    monkeypatch.setattr(one_graph.processes, "count", lambda: 2)
    assert not one_graph.can_be_one_graph(network)


class Pair(Branches):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = super().forward(x)
        return y, 2 * y


def test_a_network_of_two_outputs_goes_layer_by_layer(pictures, converted):
    network = make_trainable(converted(Pair(), pictures, "if"), Surrogate())
    one, two = TimeLoop(network, True, True)(pictures, T, frozenset(), None).answer
    torch.testing.assert_close(two, 2 * one)


def test_a_training_takes_it(pictures, converted, compile_quickly, monkeypatch):
    network = converted(Branches(), pictures, "if")
    data = [(pictures, torch.arange(6) % 3)] * 3 + [(pictures[:2], torch.arange(2))]
    options = {"recipe": None, "method": "quantized", "norm": "batch"}
    options["optimization"] = Optimization(rate=1e-3)
    rates = []
    for compiled in (False, True):
        calls = []
        monkeypatch.setattr(
            through_time,
            "present_at_once",
            lambda *a, calls=calls: calls.append(1) or present_at_once(*a),
        )
        plan = sp.FineTuning(compiled=compiled, **options)
        tuned = sp.finetune(network, data, T, 2, plan=plan, progress=False)
        assert len(calls) == (2 if compiled else 8)  # of compiled ones, the small batches
        rates.append(tuned.neurons["relu"].threshold)
    torch.testing.assert_close(*rates, rtol=1e-3, atol=1e-3)


def test_the_speed_table_has_every_way(compile_quickly, monkeypatch, capsys):
    def small(_):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10)
        ).eval()

    monkeypatch.setattr(training_step, "load_model", small)
    finetune_speed.main(["-T", "2", "--batch-size", "2", "--repeats", "1"])
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.count("|") == 6
    assert len(rows) == len(finetune_speed.MODELS)
    assert all(float(cell) > 0 for row in rows for cell in row.strip("|").split("|")[1:])
