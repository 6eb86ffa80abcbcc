"""``spikeport quantize``."""

import pytest
import torch
from torch import nn

import spikeport as sp
from spikeport.scripts.cli import main


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3)).eval()
    path = tmp_path / "net.snn"
    sp.save(sp.to_snn(model, [torch.randn(8, 6)], neuron="signed", progress=False), path)
    return path


def test_it_writes_an_integer_network(saved, tmp_path, capsys):
    out = tmp_path / "chip.snn"
    words = ["--bits", "5", "--potential-bits", "16", "--layer-bits", "2=3", "--powers-of-two"]
    assert main(["quantize", str(saved), *words, "-o", str(out)]) == 0
    found = sp.load(out)
    assert found.info["integer"]["weight_bits"] == 5
    assert found.info["integer"]["layer_bits"] == {"2": 3}
    assert found.neurons["1"].model.potential_bits == 16
    assert len(found.get_submodule("2").weight.unique()) <= 7
    assert "weights of 5 bits, potentials of 16 bits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounding", "calibrated"], "needs --data with the calibration images"),
        (["--layer-bits", "9=4"], "layer_bits names '9'"),
    ],
)
def test_what_cannot_be_is_said(saved, tmp_path, capsys, words, message):
    assert main(["quantize", str(saved), *words, "-o", str(tmp_path / "chip.snn")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "chip.snn").exists()
