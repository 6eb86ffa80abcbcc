"""Losses of a user's own, targets and outputs of any kind, and loops of one's own."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import spikeport as sp
from spikeport.convert import ConversionError
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.training.losses import CrossEntropy, OutputMatching, TargetLoss
from spikeport.finetune.training.optimization import Optimization

torch.manual_seed(0)
X = torch.rand(8, 2, 6, 6)


class Two(nn.Module):
    """Scores and a map, in a dict or a tuple."""

    def __init__(self, make):
        super().__init__()
        self.body, self.map, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 1), None
        self.head, self.make = nn.Linear(4, 5), make

    def forward(self, x):
        y = torch.relu(self.body(x))
        return self.make(self.head(y.mean((2, 3))), self.map(y))


def two(make):
    torch.manual_seed(1)
    return Two(make).eval()


def dense(*last):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), *last).eval()


def head(outputs):
    return (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))


CASES = {
    "regression [B, 1]": (dense(*head(1)), torch.rand(8, 1), nn.MSELoss()),
    "regression [B]": (dense(*head(1), nn.Flatten(0)), torch.rand(8).double(), F.l1_loss),
    "boxes [B, 4]": (dense(*head(4)), torch.rand(8, 4).numpy(), nn.SmoothL1Loss()),
    "segmentation": (
        dense(nn.Conv2d(4, 3, 1)),
        torch.arange(288).view(8, 6, 6) % 3,
        F.cross_entropy,
    ),
    "several classes": (dense(*head(5)), (torch.rand(8, 5) > 0.5).float(), nn.BCEWithLogitsLoss()),
    "soft labels": (dense(*head(5)), torch.rand(8, 5).softmax(1), nn.CrossEntropyLoss()),
    "labels, own loss": (dense(*head(5)), torch.arange(8) % 5, lambda y, t: F.cross_entropy(y, t)),
    "list of values": (dense(*head(1)), [[0.5]] * 8, nn.MSELoss()),
}


def converted(net):
    return sp.to_snn(net, [X], "signed", "fast", progress=False)


@pytest.mark.parametrize("method", ["bptt", "sltt", "ottt", "quantized"])
@pytest.mark.parametrize("kind", CASES)
def test_own_loss_falls(kind, method):
    net, target, loss = CASES[kind]
    rows = []
    plan = sp.FineTuning(
        losses=loss, method=method, recipe=None, optimization=Optimization(rate=1e-2, warm_up=0)
    )
    snn = converted(net)
    data = [(X, target)]
    sp.finetune(snn, data, 2, 12, plan=plan, on_epoch=lambda r, _: rows.append(r), progress=False)
    assert len(rows) == 12
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_validation_measures_the_loss_and_patience_keeps_the_least():
    net, target, _ = CASES["boxes [B, 4]"]
    rows, networks = [], []

    def see(row, network):
        rows.append(row)
        networks.append(network)

    plan = sp.FineTuning(losses=[nn.MSELoss()], patience=2, optimization=Optimization(rate=3e-2))
    tuned = sp.finetune(
        converted(net), [(X, target)], 2, 6, plan=plan, validation=[(X[:4], target[:4])],
        on_epoch=see, progress=False,
    )  # fmt: skip
    losses = [row["loss_2"] for row in rows]
    wanted = torch.tensor(target[:4])
    for row, network in zip(rows, networks, strict=True):
        assert row["loss_2"] == pytest.approx(
            float(F.mse_loss(network(X[:4], 2), wanted)), rel=1e-4
        )
    assert float(F.mse_loss(tuned(X[:4], 2), wanted)) == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "select"),
    [
        (lambda s, m: {"scores": s, "map": m}, "scores"),
        (lambda s, m: (m, s), 1),
        (lambda s, m: {"scores": s, "map": m}, lambda outputs: outputs["scores"]),
    ],
)
def test_a_part_of_the_answer_is_trained_as_it_would_be_alone(make, select):
    labels = torch.arange(8) % 5
    plan = {"losses": [CrossEntropy()], "recipe": None}
    alone = sp.finetune(
        converted(two(lambda s, m: s)), [(X, labels)], 2, 2, plan=sp.FineTuning(**plan),
        progress=False,
    )  # fmt: skip
    plan |= {"select": select}
    part = sp.finetune(
        converted(two(make)), [(X, labels)], 2, 2, plan=sp.FineTuning(**plan), progress=False
    )
    for name in ("body", "head"):
        torch.testing.assert_close(
            part.get_submodule(name).weight, alone.get_submodule(name).weight
        )


def test_all_outputs_go_into_a_loss_and_come_from_a_teacher():
    net = two(lambda s, m: {"scores": s, "map": m})
    snn = converted(net)

    def loss(outputs, targets):
        return outputs["scores"].square().mean() + (outputs["map"] - targets["map"]).square().mean()

    data = [{"x": X, "targets": {"map": torch.rand(8, 3, 6, 6)}, "names": ["a"] * 8}]
    plan = sp.FineTuning(losses=[loss, OutputMatching(0.1)])
    tuned = sp.finetune(snn, data, 2, 1, net, plan=plan, progress=False)
    assert tuned(X, 2)["map"].shape == (8, 3, 6, 6)
    distilled = sp.finetune(snn, [X], 2, 1, net, progress=False)
    assert "OutputMatching" in distilled.info["finetuned"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": nn.MSELoss}, "an instance of a torch loss"),
        ({"losses": [3]}, "a loss is 3"),
        ({"losses": nn.MSELoss(reduction="none")}, r"returns \[8, 5\].*; expected a scalar"),
        ({"losses": nn.CrossEntropyLoss(), "select": "scores"}, "select='scores', and the network"),
        ({"losses": lambda y, t: y["a"]}, "cannot take the network's answers"),
    ],
)
def test_losses_that_do_not_suit_are_refused(options, message):
    with pytest.raises(ConversionError, match=message):
        sp.finetune(
            converted(dense(*head(5))), [(X, torch.rand(8, 5))], 2, 1,
            plan=sp.FineTuning(**options), progress=False,
        )  # fmt: skip


def test_a_loss_of_targets_has_a_name_and_a_repr():
    assert TargetLoss(function=F.l1_loss).name == "l1_loss"
    assert repr(TargetLoss(0.5, function=nn.MSELoss())) == "TargetLoss(0.5, function=MSELoss())"


@pytest.mark.parametrize("neuron", ["if", "signed", "multi-level"])
def test_the_view_answers_as_the_network_and_is_put_back(neuron):
    net, labels = dense(*head(5)), torch.arange(8) % 5
    snn = sp.to_snn(net, [X], neuron, timesteps=4, progress=False)
    before = copy.deepcopy(snn)
    with sp.trainable(snn, timesteps=4) as view:
        torch.testing.assert_close(view(X), snn(X, 4), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(view.outputs(X).mean(0), view(X))
        optimizer = torch.optim.Adam(view.parameters(), 1e-2)
        losses = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(view((X, labels)), labels)
            loss.backward()
            assert all(p.grad is not None and bool(p.grad.any()) for p in _weights(view))
            optimizer.step()
            losses.append(float(loss.detach()))
        answer = view(X).detach()
        assert torch.equal(snn(X, 4), before(X, 4))
    assert losses[-1] < losses[0]
    torch.testing.assert_close(snn(X, 4), answer, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(view.to_snn()(X, 4), snn(X, 4))
    assert "finetuned" in snn.info
    assert not any(value.requires_grad for value in snn.parameters())


def _weights(view):
    return [value for name, value in view.named_parameters() if name.endswith("weight")]


def test_an_error_in_the_loop_leaves_the_network_as_it_was():
    snn = converted(dense(*head(5)))
    before = snn(X, 2)
    with pytest.raises(KeyError), sp.trainable(snn, 2, Surrogate()) as view:  # noqa: PT012
        for value in view.parameters():
            value.data.add_(0.1)
        raise KeyError
    assert torch.equal(snn(X, 2), before)


def test_a_view_refuses_what_cannot_be_trained():
    with pytest.raises(ConversionError, match="takes a SpikingNetwork"):
        sp.trainable(dense(), 2)
    snn = converted(dense(*head(5)))
    snn.encoding = "poisson"
    with pytest.raises(ConversionError, match="snn.encoding = 'constant'"):
        sp.trainable(snn, 2)


def test_layers_before_spikes_never_train_nothing_in_silence():
    snn = converted(dense(*head(5)))
    with torch.no_grad():
        snn.requires_grad_(True)(X, 2)
    with pytest.warns(UserWarning, match=r"layer '0' and others .* no gradient.*sp\.trainable"):
        snn(X, 2)
    snn.requires_grad_(False)
    snn.get_submodule("4").requires_grad_(True)  # behind the last spikes
    snn(X, 2).sum().backward()
    assert bool(snn.get_submodule("4").weight.grad.any())


def test_an_answer_that_nothing_is_learned_from_is_refused():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 5)

        def forward(self, x):
            return {"input": x, "scores": torch.relu(self.layer(x))}

    snn = converted(Both().eval())
    plan = sp.FineTuning(select="input", losses=[nn.MSELoss()])
    with pytest.raises(ConversionError, match="depends on no parameter"):
        sp.finetune(snn, [(X, X)], 2, 1, plan=plan, progress=False)
