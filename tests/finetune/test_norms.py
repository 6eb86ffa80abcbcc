"""Batch norms during training: nothing changes at the start, and folding is exact."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import spikeport as sp
from spikeport.convert import ConversionError
from spikeport.finetune.gradient import batch_norms as norms_module
from spikeport.finetune.gradient.batch_norms import NormedLayer, fold_norms, keep_norms
from spikeport.finetune.gradient.through_time import present
from spikeport.finetune.neuron import scan
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable, plain
from spikeport.finetune.training.evaluation import evaluate
from spikeport.finetune.training.optimization import Optimization

KEPT = ("batch", "threshold")
T = 3


class Residual(nn.Module):
    """``tied`` runs twice, ``head`` feeds no neuron."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.tied = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.conv1(x).relu()
        x = (x + self.conv2(x)).relu()
        x = self.tied(self.tied(x).relu()).relu()
        return self.head(self.fc(x.mean((2, 3))).relu())


@pytest.fixture
def pictures():
    return torch.randn(6, 2, 5, 5)


def normed(network, pictures, kind):
    """A trainable copy with norms fitted to two batches."""
    learning = make_trainable(network, Surrogate())
    keep_norms(learning, pictures.split(4), T, kind)
    return learning


def norms(network):
    return {n: m for n, m in network.named_modules() if isinstance(m, NormedLayer)}


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_nothing_changes_at_the_start(kind, neuron, pictures, converted):
    network = converted(Residual(), pictures, neuron)
    learning = normed(network, pictures, kind)
    assert norms(learning).keys() == {"conv1", "conv2", "fc"}
    # the statistics that the norms start from are those of all images, so of this batch
    torch.testing.assert_close(present(learning, pictures, T).answer, network(pictures, T))
    learning = normed(network, pictures, kind)
    for norm in norms(learning).values():
        norm.eval()
    others = torch.randn(5, 2, 5, 5)
    torch.testing.assert_close(present(learning, others, T).answer, network(others, T))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_training_mode_takes_the_statistics_of_the_batch(half, quick, pictures, converted):
    learning = normed(converted(Residual(), pictures, "if"), pictures, "batch")
    norm = norms(learning)["conv2"]
    norm.quick = quick
    reference = nn.BatchNorm2d(4)
    reference.load_state_dict(
        {
            "weight": norm.gain.detach(),
            "bias": norm.offset.detach(),
            "running_mean": norm.mean,
            "running_var": norm.variance,
            "num_batches_tracked": torch.tensor(0),
        }
    )
    x = 3 + 2 * torch.randn(7, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found, y = norm(x), norm.layer(x)
    assert found.dtype == y.dtype == (torch.bfloat16 if half else torch.float32)
    near = 1e-2 if half else 1e-4
    torch.testing.assert_close(found.float(), reference(y.float()), rtol=near, atol=near)
    torch.testing.assert_close(norm.mean, reference.running_mean)
    torch.testing.assert_close(norm.variance, reference.running_var)
    assert not norm.layer.bias.requires_grad


@pytest.mark.parametrize("compiled", [False, True])
def test_torchs_kernel_is_taken_where_neurons_are_compiled(
    compiled, pictures, converted, monkeypatch
):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return nn.functional.batch_norm(*arguments)

    monkeypatch.setattr(norms_module, "F", SimpleNamespace(batch_norm=counted))
    monkeypatch.setattr(scan, "_compiled", lambda function: function)
    network = converted(Residual(), pictures, "if")
    labels = torch.arange(6) % 3
    plan = sp.FineTuning(recipe=None, norm="batch", compiled=compiled)
    sp.finetune(network, [(pictures, labels)], T, 1, plan=plan, progress=False)
    assert bool(calls) == compiled


@pytest.mark.parametrize("kind", KEPT)
def test_folding_is_exact(kind, pictures, converted):
    network = converted(Residual().double(), pictures.double(), "if")
    learning = normed(network, pictures.double(), kind)
    optimizer = Optimization(rate=0.05, neuron_rate=0.05).optimizer(learning)
    for _ in range(3):
        optimizer.zero_grad()
        x = 1 + 2 * torch.randn(6, 2, 5, 5, dtype=torch.double)
        present(learning, x, T).answer.square().sum().backward()
        optimizer.step()
    for norm in norms(learning).values():
        norm.eval()
    expected = present(learning, pictures.double(), T)
    folded = fold_norms(plain(learning))
    found = present(make_trainable(folded, Surrogate()), pictures.double(), T)
    torch.testing.assert_close(found.answer, expected.answer, rtol=1e-5, atol=1e-5)
    for name, spikes in expected.spikes.items():
        assert torch.equal(found.spikes[name], spikes)
    assert (found.answer - network(pictures.double(), T)).abs().max() > 1e-2
    names = {"conv2.weight", "conv2.bias", "conv1.bias"}
    assert folded.state_dict().keys() == network.state_dict().keys() | names
    assert not any(value.requires_grad for value in folded.parameters())


def test_gain_counts_in_thresholds(pictures, converted):
    learning = normed(converted(Residual(), pictures, "if"), pictures, "threshold")
    norm, reader = norms(learning)["conv1"], next(iter(learning.neurons.values()))
    offset = norm.offset.detach().view(1, -1, 1, 1)
    before = norm(pictures) - offset
    factors = torch.tensor([1.0, 2.0, 3.0, 0.5])
    with torch.no_grad():
        reader.log_threshold += factors.log()
    torch.testing.assert_close(norm(pictures) - offset, before * factors.view(1, -1, 1, 1))


@pytest.mark.parametrize("kind", KEPT)
def test_digits_with_norms(kind, digits, tmp_path):
    snn = sp.to_snn(digits.ann, digits.train, "if", timesteps=2, progress=False)
    plan = sp.FineTuning(norm=kind, optimization=Optimization(average=0.9))
    tuned = sp.finetune(snn, digits.train, 2, 3, digits.ann, plan=plan, progress=False)
    before, after = (evaluate(network, digits.test, (2,))["accuracy_2"] for network in (snn, tuned))
    assert after > before
    sp.save(tuned, tmp_path / "net.snn")
    images = digits.test[0][0]
    tuned.backend = "torch"
    again = sp.load(tmp_path / "net.snn")
    again.backend = "torch"
    assert torch.equal(again(images, 2), tuned(images, 2))


class Stop(Exception):
    pass


class Stopping(list):
    """Batches that end the program in the second epoch."""

    def __init__(self, batches, log):
        super().__init__(batches)
        self.log = log

    def __iter__(self):
        if self.log.exists():
            raise Stop
        return super().__iter__()


@pytest.mark.parametrize("kind", KEPT)
def test_a_stopped_run_goes_on_to_the_same_weights(kind, digits, tmp_path):
    batches = digits.train[:4]
    snn = sp.to_snn(digits.ann, batches, "if", timesteps=2, progress=False)

    def tuned(batches, folder):
        plan = sp.FineTuning(norm=kind, optimization=Optimization(average=0.9))
        tuned = sp.finetune(snn, batches, 2, 3, plan=plan, output=folder, progress=False)
        return tuned.state_dict()

    whole, stopped = tuned(batches, tmp_path / "whole"), tmp_path / "stopped"
    with pytest.raises(Stop):
        tuned(Stopping(batches, stopped / "log.csv"), stopped)
    resumed = tuned(batches, stopped)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_what_norms_do_not_go_with_is_refused(small, images):
    with pytest.raises(ConversionError, match=r"norm is 'layer'; expected one of \('folded'"):
        sp.FineTuning(norm="layer")
    for options in ({"method": "sltt"}, {"chunk": 1}):
        with pytest.raises(ConversionError, match="norm='batch' takes its statistics over all"):
            sp.FineTuning(norm="batch", **options)
    pair = [(images[:1], torch.zeros(1).long())]
    with pytest.raises(ConversionError, match="layer '0': a batch of one image"):
        sp.finetune(small, pair, 1, plan=sp.FineTuning(norm="batch"), progress=False)


def test_a_network_without_a_place_for_norms_is_refused(images, converted):
    shared = nn.Linear(8, 8)
    network = converted(nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU()), images, "if")
    with pytest.raises(ConversionError, match='norm=.batch.: no .* pass norm="folded"'):
        keep_norms(make_trainable(network, Surrogate()), [images], 2, "batch")
