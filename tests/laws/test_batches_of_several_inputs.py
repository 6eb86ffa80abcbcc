"""Every verb gives the same on several inputs however they are written; the rest is refused."""

from collections import UserDict, namedtuple

import pytest
import several_inputs
import torch
from torch.utils.data import DataLoader, TensorDataset

import spikeport as sp

ConversionError = sp.ConversionError
NET, (A, B) = several_inputs.made("image and vector")
Y = torch.tensor([0, 2, 1, 0])
Pair = namedtuple("Pair", "image state")

UNLABELED = {
    "(a, b)": (A, B),
    "[a, b]": [A, B],
    "((a, b),)": ((A, B),),
    "named tuple": Pair(A, B),
    "numpy": (A.numpy(), B.numpy()),
    "dict": {"image": A, "state": B},
    "dict in another order": {"state": B, "image": A, "file": ["a"] * 4},
    "UserDict": UserDict({"image": A, "state": B}),
    "(dict,)": ({"image": A, "state": B},),
}
LABELED = {
    "(a, b, y)": (A, B, Y),
    "((a, b), y)": ((A, B), Y),
    "[[a, b], y]": [[A, B], Y],
    "dict with labels": {"image": A, "state": B, "labels": Y},
    "(dict, y)": ({"image": A, "state": B}, Y),
}


def numbers(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def tuned(snn, batch):
    plan = sp.FineTuning(recipe="fast")
    return numbers(sp.finetune(snn, [batch], 2, 1, NET, plan=plan, progress=False))


VERBS = {
    "convert": lambda snn, batch: numbers(sp.to_snn(NET, [batch], progress=False)),
    "run": torch.no_grad()(lambda snn, batch: snn(batch, timesteps=4)),
    "anytime": torch.no_grad()(lambda snn, batch: snn.anytime(batch, 3)),
    "analog": lambda snn, batch: snn.analog(batch),
    "early exit": lambda snn, batch: snn.early_exit(batch, 4, sp.EarlyExit("gap", 0.1))[0],
    "sweep": lambda snn, batch: sp.sweep(snn, [batch], 4, NET, progress=False).rows,
    "cost": lambda snn, batch: sp.cost(snn, [batch], 4, NET, progress=False).rows,
    "inspect": lambda snn, batch: sp.inspect(snn, [batch], 2, NET, progress=False).rows,
    "calibrate exit": lambda snn, batch: sp.calibrate_exit(snn, [batch], 4, 0.5, progress=False),
    "trainable": lambda snn, batch: sp.trainable(snn, 2)(batch).detach(),
    "finetune": tuned,
}


@pytest.fixture(scope="module")
def snn():
    return sp.to_snn(NET, [(A, B)], progress=False)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", [*UNLABELED, *LABELED])
def test_kind_of_batch_gives_what_the_plain_one_gives(kind, verb, snn):
    labeled = kind in LABELED
    expected = VERBS[verb](snn, (A, B, Y) if labeled else (A, B))
    found = VERBS[verb](snn, LABELED[kind] if labeled else UNLABELED[kind])
    same = torch.equal if isinstance(expected, torch.Tensor) else lambda a, b: a == b
    assert same(found, expected)


REFUSED = {
    "one input": (A, "with 1 input"),
    "one input of a tuple": ((A,), "with 1 input"),
    "three inputs": (((A, B, B), Y), "with 3 input"),
    "a missing argument": ({"image": A}, "has no state|expected|with 1 input"),
    "other rows": ((A, B[:2]), "the same B for each"),
    "no rows": ({"image": A, "state": torch.tensor(1.0)}, "the same B for each"),
    "an infinite value": ((A, B / 0), "NaN or infinite"),
    "complex numbers": ((A, B + 0j), "complex"),
    "text": ((A, ["a"] * 4), "expected a float tensor"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_anything_else_is_refused_with_the_way_out(kind, snn):
    batch, message = REFUSED[kind]
    for verb in ("run", "analog", "sweep", "inspect", "finetune"):
        with pytest.raises(ConversionError, match=message):
            VERBS[verb](snn, batch)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((A, B.long()), "torch.float32 as at conversion"),
        ((A[:, :1], B), r"the input has shape \[4, 1, 6, 6\]; expected \[B, 2"),
        ((A, B[:, :3]), r"the input has shape \[4, 3\]; expected \[B, 5\]"),
        ((A, B[:, None]), r"the input has shape \[4, 1, 5\]; expected \[B, 5\]"),
    ],
)
def test_inputs_unlike_those_at_conversion_are_refused(batch, message, snn):
    with pytest.raises(ConversionError, match=message):
        snn(batch, 2)


def test_other_encodings_are_for_one_input_of_floats(snn):
    model, ids = several_inputs.made("tagger")
    for network, batch in ((snn, (A, B)), (sp.to_snn(model, [ids], progress=False), ids)):
        network.encoding = "poisson"
        with pytest.raises(ConversionError, match="presents one input of floats"):
            network(batch, 2)
        network.encoding = "constant"


def test_a_loader_leaves_out_what_was_calibrated_on():
    data = DataLoader(TensorDataset(A, B, Y), 2)
    snn = sp.to_snn(NET, [(A[:2], B[:2])], progress=False)
    assert sp.sweep(snn, data, 2, progress=False).info["left_out_images"] == 2
    other = [(A[:2], B[2:])]  # the same images beside another state
    assert sp.sweep(snn, other, 2, progress=False).info["left_out_images"] == 0


class Optional(several_inputs.ImageAndVector):
    """An input that may be left out, and a switch."""

    def forward(self, image, state=None, gain=1.0):
        state = image.new_ones(image.size(0), 5) if state is None else state
        return gain * super().forward(image, state)


def test_arguments_stay_those_of_the_conversion():
    net = Optional().eval()
    alone = sp.to_snn(net, [(A, Y)], progress=False)  # a pair is an input and its labels
    both = sp.to_snn(net, [{"image": A, "state": B, "gain": 2.0}], progress=False)
    assert torch.allclose(alone.analog(A), net(A), atol=1e-5)
    assert torch.allclose(both.analog((A, B)), net(A, B, 2.0), atol=1e-5)
    assert torch.allclose(both.analog({"image": A, "state": B}), net(A, B, 2.0), atol=1e-5)
    with pytest.raises(ConversionError, match="has state too"):
        alone.analog({"image": A, "state": B})
    with pytest.raises(ConversionError, match="has no state"):
        both.analog({"image": A})
    with pytest.raises(ConversionError, match="with gain=2.0.* has gain=3.0"):
        both.analog({"image": A, "state": B, "gain": 3.0})
    with pytest.raises(ConversionError, match="without gain"):
        alone.analog({"image": A, "gain": 3.0})


def test_what_is_loaded_knows_its_arguments(tmp_path):
    net = Optional().eval()
    sp.save(sp.to_snn(net, [{"image": A, "state": B, "gain": 2.0}]), tmp_path / "a.snn")
    loaded = sp.load(tmp_path / "a.snn")
    assert torch.allclose(loaded.analog({"state": B, "image": A}), net(A, B, 2.0), atol=1e-5)
    with pytest.raises(ConversionError, match="has no state"):
        loaded.analog({"image": A})
    sp.load_source(loaded, net)
    assert torch.allclose(loaded.analog((A, B)), net(A, B, 2.0), atol=1e-5)
