"""Images that a network was calibrated on, in its evaluations."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import spikeport as sp
from spikeport.convert.calibration_images import NOTED, digests


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


X, Y = torch.rand(20, 3, 2, 2), torch.arange(20) % 3


def loader(batch_size=5, shuffle=False):
    return DataLoader(TensorDataset(X, Y), batch_size, shuffle=shuffle)


@pytest.mark.parametrize("recipe", ["default", "fast", "best"])
@pytest.mark.parametrize("used", [0, 4, 8, 17])
def test_calibration_images_are_left_out_and_counted(used, recipe, net, tmp_path):
    snn = sp.to_snn(net, [X[:used]] if used else [torch.rand(4, 3, 2, 2)], "signed", recipe, 4)
    sp.save(snn, tmp_path / "net.snn")
    for network in (snn, sp.load(tmp_path / "net.snn")):
        curve = sp.sweep(network, loader(shuffle=True), (2, 4), progress=False)
        expected = sp.sweep(
            network, [(X[used:], Y[used:])], (2, 4), keep_calibration=True, progress=False
        )
        assert curve.info["left_out_images"] == used
        assert curve.info["images"] == 20 - used
        for name in ("top1", "agreement", "output_error", "acs"):
            assert curve.rows[0][name] == pytest.approx(expected.rows[0][name], rel=1e-4)
        assert (f"{used} calibration image(s) are left out" in str(curve)) is (used > 0)
        assert NOTED not in curve.info
    costs = sp.cost(snn, loader(), 4, progress=False)
    assert costs.info["images"] == 20 - used
    everything = sp.sweep(snn, loader(), 4, keep_calibration=True, progress=False)
    assert everything.info["images"] == 20
    assert everything.info["left_out_images"] == 0


def test_where_there_are_no_others_the_table_says_so(net):
    snn = sp.to_snn(net, [X], timesteps=4, progress=False)
    curve = sp.sweep(snn, loader(), 4, progress=False)
    assert curve.info["images"] == 20
    assert curve.info["evaluated_on_calibration_images"]
    assert "the images that it was calibrated on" in str(curve)
    costs = sp.cost(snn, loader(), 4, progress=False)
    assert costs.info["images"] == 20
    assert "the images that it was calibrated on" in str(costs)


def test_a_second_calibration_forgets_none(net):
    snn = sp.to_snn(net, [X[:3]], progress=False)
    sp.finetune(snn, [(X[3:6], Y[3:6])], 2, 1, progress=False)
    assert snn.info[NOTED] == sorted(digests(X[:3]))
    tuned = sp.finetune(snn, [(X[3:6], Y[3:6])], 2, 1, progress=False)
    assert tuned.info[NOTED] == sorted(digests(X[:6]))


def test_targets_that_cannot_be_told_apart_are_refused(net):
    snn = sp.to_snn(net, [X[:3]], progress=False)
    boxes = torch.rand(31, 6)
    with pytest.raises(sp.ConversionError, match="cannot be left out.*keep_calibration=True"):
        sp.sweep(snn, [(X, boxes)], 2, progress=False)


def test_digests_are_of_the_values():
    assert digests(X) == digests(X.double()) == digests(X.clone().requires_grad_())
    assert len(set(digests(X))) == 20
