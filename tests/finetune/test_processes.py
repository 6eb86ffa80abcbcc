"""Two processes on halves of each batch, against one on the whole."""

import subprocess
import sys

import pytest
import torch

import spikeport as sp

HALVES = """
import sys, torch
from datetime import timedelta
import spikeport as sp
from spikeport.finetune.losses import TET, Distillation
from spikeport.finetune.optimisation import Optimisation
torch.set_num_threads(1)
folder, rank, count, method = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if count > 1:
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meet-{method}", timedelta(seconds=60), count, rank)
batches = torch.load(folder + "/data.pt")
share = [(x.chunk(count)[rank], y.chunk(count)[rank]) for x, y in batches]
snn = sp.load(folder + "/net.snn")
tuned = sp.finetune(
    snn, share, timesteps=2, epochs=2, teacher=snn.analog, method=method, progress=False,
    recipe=None, optimisation=Optimisation("sgd", 1e-2, 1e-2), validation=share,
    output=f"{folder}/{method}-{count}", losses=[TET(), Distillation()],
)
sp.save(tuned, f"{folder}/{method}-{count}-{rank}.snn")
if count > 1:
    torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("method", ["bptt", "sltt"])
def test_two_processes_do_what_one_does_with_the_whole_batch(method, digits, tmp_path):
    sp.save(
        sp.to_snn(digits.ann, digits.train, "if", timesteps=2, progress=False), tmp_path / "net.snn"
    )
    torch.save(digits.train[:4], tmp_path / "data.pt")
    runs = []
    for rank, count in ((0, 1), (0, 2), (1, 2)):
        arguments = [str(tmp_path), str(rank), str(count), method]
        runs.append(subprocess.Popen([sys.executable, "-c", HALVES, *arguments]))
    assert [run.wait(120) for run in runs] == [0, 0, 0]
    found = [sp.load(tmp_path / f"{method}-{name}.snn") for name in ("1-0", "2-0", "2-1")]
    one, first, second = (network.state_dict() for network in found)
    start = sp.load(tmp_path / "net.snn").state_dict()
    assert (
        max(float((one[name] - start[name]).abs().max()) for name in one if one[name].numel())
        > 1e-2
    )
    for name, value in one.items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5)
        assert torch.equal(first[name], second[name])
    logs = [(tmp_path / f"{method}-{n}" / "log.csv").read_text().splitlines() for n in (1, 2)]
    assert len(logs[0]) == len(logs[1]) == 3
    rows = [[float(cell) for cell in log[-1].split(",")[:-1]] for log in logs]  # but the seconds
    assert rows[0] == pytest.approx(rows[1], abs=1e-3)
