"""Class scores are found in what a network returns: a dict, a tuple, an output class."""

from collections import namedtuple

import pytest
import torch
from torch import nn

import spikeport as sp
from spikeport.convert import ConversionError
from spikeport.convert.simulation.early_exit import class_scores, is_scores

Answer = namedtuple("Answer", ["features", "logits"])
X, LABELS = torch.randn(12, 6), torch.arange(12) % 4
FORMS = {
    "tensor": lambda features, scores: scores,
    "dict": lambda features, scores: {"features": features, "logits": scores},
    "named tuple": lambda features, scores: Answer(features, scores),
    "one of a tuple": lambda features, scores: (scores,),
}


class Returning(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form, self.one, self.two = form, nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        features = torch.relu(self.one(x))
        return self.form(features, self.two(features))


def made(form):
    torch.manual_seed(0)
    model = Returning(FORMS[form]).eval()
    return model, sp.to_snn(model, [(X, LABELS)], progress=False)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_measured_like_the_tensor(form, tmp_path):
    (_, plain), (model, snn) = made("tensor"), made(form)
    data = [(torch.randn(9, 6, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 4)]
    assert snn.info["task"] == "classification"
    exits = sp.EarlyExit("gap", 0.5, first=2)
    ours = sp.sweep(snn, data, (2, 8), reference=model, early_exit=exits, progress=False)
    expected = sp.sweep(plain, data, (2, 8), early_exit=exits, progress=False)
    assert ours.info["labelled_images"] == 9
    pairs = zip([*ours.rows, *ours.exits], [*expected.rows, *expected.exits], strict=True)
    for row, other in pairs:
        assert (row["top1"], row["agreement"]) == (other["top1"], other["agreement"])
    snn.readout_delay = 0.25
    scores, times = snn.early_exit(data[0][0], 8, exits)
    assert scores.shape == (9, 4)
    assert len(times) == 9
    assert all(row["agreement"] is not None for row in sp.cost(snn, data, 4, progress=False).rows)
    sp.write_report(snn, data, tmp_path / "a.html", (1, 4), inspected=0, progress=False)
    assert "agreement" in (tmp_path / "a.html").read_text("utf-8")


@pytest.mark.parametrize(
    "outputs",
    [
        {"boxes": torch.zeros(2, 4), "scores": torch.zeros(2, 3)},  # which of them?
        {"logits": torch.zeros(2, 5, 4), "other": torch.zeros(2, 4)},
        (torch.zeros(2, 1),),
        torch.zeros(2, 3, 4),
        [],
    ],
)
def test_other_outputs_have_none(outputs):
    assert not is_scores(outputs)
    with pytest.raises(ConversionError, match="needs a classifier"):
        class_scores(outputs)


@pytest.mark.parametrize("form", ["dict", "one of a tuple"])
def test_they_are_what_is_trained(form):
    _, snn = made(form)
    tuned = sp.finetune(snn, [(X, LABELS)], 2, epochs=1, progress=False)
    assert isinstance(tuned(X, 2), dict if form == "dict" else tuple)
    assert not torch.equal(tuned.get_parameter("two.weight"), snn.get_parameter("two.weight"))
