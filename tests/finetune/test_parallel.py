"""Two processes on halves of each batch, against one on the whole."""

import csv
import json
import subprocess
import sys

import pytest
import torch

import spikeport as sp

WAYS = ("bptt-folded", "sltt-folded", "bptt-threshold", "quantized-batch")
SHARE = """
import json, sys, torch
from datetime import timedelta
import spikeport as sp
from spikeport.convert.simulation.early_exit import EarlyExit
from spikeport.finetune.training.losses import TET, Distillation, InformationLoss, RateMatching
from spikeport.finetune.training.optimization import Optimization

def work(folder, rank, count):
    batches = torch.load(folder + "/data.pt")
    share = [(x.chunk(count)[rank], y.chunk(count)[rank]) for x, y in batches]
    snn = sp.load(folder + "/net.snn")
    terms = [TET(), Distillation(), RateMatching(0.3), InformationLoss(0.1)]
    for way in ("bptt-folded", "sltt-folded", "bptt-threshold", "quantized-batch"):
        method, norm = way.split("-")
        tuned = sp.finetune(
            snn, share, timesteps=2, epochs=2, teacher=snn.analog, validation=share,
            output=f"{folder}/{way}-{count}", progress=False, plan=sp.FineTuning(
                losses=terms[: 3 if method == "quantized" else 4], recipe=None, method=method,
                optimization=Optimization("sgd", 1e-2, 1e-2), norm=norm,
            ),
        )
        sp.save(tuned, f"{folder}/{way}-{count}-{rank}.snn")
    exits = [EarlyExit("gap", 1.0), EarlyExit("confidence", 0.9)]
    curve = sp.sweep(snn, share, (1, 2, 4), progress=False, early_exit=exits)
    with open(f"{folder}/curve-{count}-{rank}.json", "w") as file:
        rows = [{k: v for k, v in r.items() if isinstance(v, (int, float))}
                for r in curve.rows + curve.exits]
        json.dump([rows, curve.info["images"], curve.info["source_top1"]], file)
"""
ONE_OF_TWO = """
torch.set_num_threads(1)
folder, rank = sys.argv[1], int(sys.argv[2])
meet = f"file://{folder}/meet"
torch.distributed.init_process_group("gloo", meet, timedelta(seconds=100), 2, rank)
work(folder, rank, 2)
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """Holds what one process and each of two have made."""
    path = tmp_path_factory.mktemp("together")
    snn = sp.to_snn(digits.ann, digits.train, "if", timesteps=2, progress=False)
    sp.save(snn, path / "net.snn")
    torch.save(digits.train[:4], path / "data.pt")
    code = [sys.executable, "-c", SHARE + ONE_OF_TWO, str(path)]
    runs = [subprocess.Popen([*code, rank]) for rank in ("0", "1")]
    here: dict[str, object] = {}
    exec(SHARE, here)  # the very lines of the two
    here["work"](str(path), 0, 1)
    assert [run.wait(200) for run in runs] == [0, 0]
    return path


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_what_one_does_with_the_whole_batch(way, folder):
    found = [sp.load(folder / f"{way}-{name}.snn") for name in ("1-0", "2-0", "2-1")]
    one, first, second = (network.state_dict() for network in found)
    start = sp.load(folder / "net.snn").state_dict()
    assert max(float((one[n] - start[n]).abs().max()) for n in one if one[n].numel()) > 1e-2
    for name, value in one.items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5)
        assert torch.equal(first[name], second[name])
    logs = [(folder / f"{way}-{count}" / "log.csv").read_text() for count in (1, 2)]
    alone, together = (list(csv.DictReader(log.splitlines())) for log in logs)
    assert len(alone) == len(together) == 2
    for name in alone[-1].keys() - {"seconds"}:
        assert float(together[-1][name]) == pytest.approx(float(alone[-1][name]), abs=1e-3)


def test_two_processes_measure_the_curve_of_one(folder):
    names = [f"curve-{name}.json" for name in ("1-0", "2-0", "2-1")]
    one, first, second = (json.loads((folder / name).read_text()) for name in names)
    assert first == second
    assert one[1:] == first[1:]
    assert 1 < one[0][-1]["timesteps"] < 4
    for alone, together in zip(one[0], first[0], strict=True):
        assert together == pytest.approx(alone, rel=1e-9)  # sums in another order
