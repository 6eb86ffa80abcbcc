"""Every verb gives the same on a batch of any kind as on the plain tensors; the rest is refused."""

import warnings
from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import spikeport as sp
from spikeport.convert.batches import Batch, rows, take_apart, target_tensors
from spikeport.convert.inputs import Signature

ConversionError = sp.ConversionError
torch.manual_seed(0)
X, Y = torch.rand(6, 3, 8, 8), torch.tensor([0, 3, 1, 4, 2, 0])
Pair = namedtuple("Pair", "image label")

KINDS = {
    "(x,)": (X,),
    "[x]": [X],
    "(x, y)": (X, Y),
    "(x, y, index)": (X, Y, torch.arange(6)),
    "[B, 1] labels": (X, Y[:, None]),
    "int32 labels": (X, Y.int()),
    "uint8 labels": (X, Y.byte()),
    "list of labels": (X, Y.tolist()),
    "list of tensors as labels": (X, list(Y)),
    "one-hot labels": (X, nn.functional.one_hot(Y, 5)),
    "one-hot floats": (X, nn.functional.one_hot(Y, 5).float()),
    "numpy": (X.numpy(), Y.numpy()),
    "numpy, big endian": (X.numpy().astype(">f4"), Y.numpy().astype(np.int16)),
    "transposed numpy": (np.ascontiguousarray(X.numpy().T).T, Y.numpy()),
    "float64": (X.double(), Y),
    "requires_grad": (X.clone().requires_grad_(), Y),
    "forward's name": {"input": X, "target": Y},
    "pixel_values": {"pixel_values": X, "labels": Y},
    "UserDict": UserDict({"image": X, "label": Y, "file": ["a"] * 6}),
    "named tuple": Pair(X, Y),
}


class Small(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
        )


def make():
    torch.manual_seed(1)
    return Small().eval()


NET = make()


@pytest.fixture(scope="module")
def snn():
    return sp.to_snn(NET, [X], progress=False)


def numbers(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def tuned(snn, batch):
    plan = sp.FineTuning(recipe="fast")
    return numbers(sp.finetune(snn, [batch], 2, 1, NET, plan=plan, progress=False))


VERBS = {
    "convert": lambda snn, batch: numbers(sp.to_snn(NET, [batch], progress=False)),
    "run": torch.no_grad()(lambda snn, batch: snn(batch, timesteps=4)),
    "at NumPy's T": torch.no_grad()(lambda snn, batch: snn(batch, timesteps=np.int64(4))),
    "anytime": torch.no_grad()(lambda snn, batch: snn.anytime(batch, 3)),
    "analog": lambda snn, batch: snn.analog(batch),
    "early exit": lambda snn, batch: snn.early_exit(batch, 4, sp.EarlyExit("gap", 0.1))[0],
    "sweep": lambda snn, batch: sp.sweep(snn, [batch], timesteps=4, progress=False).rows,
    "cost": lambda snn, batch: sp.cost(snn, [batch], 4, NET, progress=False).rows,
    "inspect": lambda snn, batch: sp.inspect(snn, [batch], 2, progress=False).rows,
    "calibrate exit": lambda snn, batch: sp.calibrate_exit(snn, [batch], 4, 0.5, progress=False),
    "finetune": tuned,
}


def labelled(batch):
    return take_apart(batch, Signature(("input",), ("input",))).target is not None


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_batch_gives_what_the_plain_tensors_give(kind, verb, snn):
    batch = KINDS[kind]
    plain = (X, Y) if labelled(batch) else X
    expected = VERBS[verb](snn, plain)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the input is torch.float64")
        found = VERBS[verb](snn, batch)
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected


def test_another_type_is_cast_and_said(snn):
    for other in (X.double(), X.numpy().astype(np.float64)):
        with pytest.warns(UserWarning, match="float64 and the network torch.float32: it is cast"):
            assert torch.equal(snn(other, 2), snn(X, 2))
    with pytest.warns(UserWarning, match="float16"):
        assert snn(X.half(), 2).dtype == torch.float32


REFUSED = {
    "uint8": ((X * 255).byte(), "uint8 .*255"),
    "int64": (torch.ones(2, 3, 8, 8).long(), "int64"),
    "complex": (X + 0j, "complex"),
    "infinite": (X / 0, "NaN or infinite"),
    "an item of a data set": ((X[0], 3), "one item of a data set.*DataLoader"),
    "an item with a scalar tensor": ((X[0], Y[0]), "one item of a data set.*DataLoader"),
    "an array of strings": (np.array(["a"]), "expected floats"),
    "a dict without input": ({"pixels": X, "labels": Y}, "name it after"),
    "a dict with two inputs": ({"image": X, "pixel_values": X}, "'image' and 'pixel_values'"),
    "a list of images": ([[X[0], X[1]], Y], "a batch is a list"),
    "a sparse tensor": (X[:, 0, 0].to_sparse(), "dense"),
    "text": ("cat.png", "a batch is a str"),
    "None": (None, "a batch is a NoneType"),
    "nothing": ((), "a batch is a tuple"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_anything_else_is_refused_with_the_way_out(kind, snn):
    batch, message = REFUSED[kind]
    for verb in ("convert", "run", "analog", "sweep", "cost", "inspect", "finetune"):
        with pytest.raises(ConversionError, match=message):
            VERBS[verb](snn, batch)


DATA = {
    "a data set": (TensorDataset(X, Y), "single items.*DataLoader"),
    "a function": (lambda: [X], "a function; pass what it returns"),
    "a tensor": (X, r"a Tensor; one batch .*\[batch\]"),
    "a dict": ({"x": X}, r"\[batch\]"),
    "a pair": ((X, Y), r"\[batch\]"),
    "an iterator": (iter([X]), "read only once"),
    "text": ("images/", "a str"),
    "a number": (3, "a int"),
    "nothing": ([], "no batch"),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_that_are_no_batches_are_refused(kind, snn):
    data, message = DATA[kind]
    for verb in (
        lambda: sp.to_snn(NET, data, progress=False),
        lambda: sp.sweep(snn, data, 2, progress=False),
        lambda: sp.inspect(snn, data, 2, progress=False),
        lambda: sp.finetune(snn, data, 2, 1, NET, progress=False),
    ):
        with pytest.raises(ConversionError, match=message):
            verb()


@pytest.mark.parametrize(
    "model", [NET, nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))]
)
def test_a_single_image_is_named(model, snn):
    with pytest.raises(ConversionError, match=r"\[3, 8, 8\], which the model takes for a single"):
        sp.to_snn(model.eval(), [X[0]], progress=False)
    with pytest.raises(ConversionError, match=r"\[3, 8, 8\].*a single one is x\[None\]"):
        snn(X[0], 2)


OTHER_TARGETS = {
    "masks": torch.zeros(6, 8, 8).long(),
    "images": X,
    "soft labels": torch.rand(6, 5),
    "several classes": torch.ones(6, 5).long(),
    "values": torch.rand(6, 1),
    "boxes": {"boxes": torch.rand(6, 4), "labels": Y},
    "a list of dicts": [{"boxes": torch.rand(n, 4)} for n in range(6)],
}


@pytest.mark.parametrize("kind", OTHER_TARGETS)
def test_other_targets_are_passed_on_and_never_counted(kind, snn):
    seen = []
    with pytest.warns(UserWarning, match="no class labels"):
        curve = sp.sweep(snn, [(X, OTHER_TARGETS[kind])], 2, on_batch=seen.append, progress=False)
    assert curve.rows[0]["top1"] is None
    assert curve.info["labelled_images"] == 0
    assert seen[0].labels is OTHER_TARGETS[kind]
    with pytest.warns(UserWarning, match="no class labels"):
        rows = sp.cost(snn, [(X, OTHER_TARGETS[kind])], 2, progress=False).rows
    assert all(row["top1"] is None for row in rows)


def test_one_batch_of_other_targets_leaves_the_accuracy_out(snn):
    several = nn.functional.one_hot(Y, 5)
    several[0] = 1
    with pytest.warns(UserWarning, match="no class labels"):
        curve = sp.sweep(snn, [(X, nn.functional.one_hot(Y, 5)), (X, several)], 2, progress=False)
    assert curve.rows[0]["top1"] is None


@pytest.mark.parametrize(
    ("labels", "message"), [(Y + 5, "label 9, but the network has 5"), (Y[:4], "4 labels for 6")]
)
def test_labels_that_do_not_fit_are_refused(labels, message, snn):
    for verb in ("sweep", "cost", "finetune"):
        with pytest.raises(ConversionError, match=message):
            VERBS[verb](snn, (X, labels))


class InPlace(nn.Module):
    """A network that writes into its input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x.sub_(0.5).div_(0.2))))


def test_nothing_changes_the_batch_of_a_user(tmp_path):
    net, x = InPlace().eval().requires_grad_(False), torch.rand(6, 8)
    given = x.clone()
    snn = sp.to_snn(net, [given], progress=False)
    plain = sp.sweep(snn, [given], 4, progress=False).rows
    compared = sp.sweep(snn, [given], 4, reference=net, progress=False).rows
    assert plain[0]["output_error"] == pytest.approx(compared[0]["output_error"], rel=1e-4)
    sp.cost(snn, [given], 4, reference=net, progress=False)
    sp.inspect(snn, [given], 4, reference=net, progress=False)
    sp.finetune(snn, [given], 2, 1, net, validation=[given], progress=False)
    sp.write_report(snn, [given], tmp_path / "a.html", 4, reference=net, progress=False)
    assert torch.equal(given, x)


def test_rows_of_targets():
    chosen = torch.tensor([True, False, True])
    values = torch.arange(3)
    picked = rows({"a": values, "b": [1, 2, 3], "c": values.numpy()}, chosen)
    assert [picked["a"].tolist(), picked["b"], picked["c"].tolist()] == [[0, 2], [1, 3], [0, 2]]
    assert rows(None, chosen) is None
    with pytest.raises(ConversionError, match="cannot be left out"):
        rows(torch.rand(5, 6), chosen)


def test_targets_become_tensors_of_the_input():
    target = {"a": np.ones(2), "b": [1, 2], "c": [torch.ones(1), torch.ones(2)], "d": "name"}
    found = target_tensors(Batch(torch.ones(2, 3), target))
    assert found["a"].dtype == torch.float32
    assert found["b"].tolist() == [1, 2]
    assert [len(one) for one in found["c"]] == [1, 2]
    assert found["d"] == "name"


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def test_a_stream_is_read_again_in_every_epoch(snn):
    listed = DataLoader(list(zip(X, Y, strict=True)), 4)
    found = [
        numbers(sp.finetune(snn, data, 2, 3, NET, progress=False))
        for data in (DataLoader(Stream(), 4), listed)
    ]
    assert torch.equal(*found)


def test_data_of_another_length_in_a_later_epoch_is_refused(snn):
    class Growing:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter([(X, Y)] * self.passes)

    with pytest.raises(ConversionError, match="batches at first and"):
        sp.finetune(snn, Growing(), 2, 2, NET, progress=False)
