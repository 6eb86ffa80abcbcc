"""``spikeport finetune`` on images made here."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.run import get_args_parser

from spikeport.convert.saving.container import load
from spikeport.scripts import finetune_command, sweep_command
from spikeport.scripts.cli import main
from spikeport.scripts.finetune_command import _Augmented, _Kept
from tests.scripts.image_folder import write_images


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path, 32, 32)


def test_it_trains_and_saves(folder, tmp_path, capsys):
    net, tuned, log = (str(tmp_path / name) for name in ("net.snn", "tuned.snn", "log"))
    data = ["--data", str(folder), "--images", "4", "--batch-size", "2"]
    assert main(["convert", "cifar10/resnet20", *data, "--neuron", "if", "-o", net]) == 0
    options = ["-T", "1", "--epochs", "1", "--losses", "distillation,spike-budget:0.1:0.5"]
    options += [
        "--no-labels",
        "--validation",
        str(folder),
        "--folder",
        log,
        "--norm",
        "batch",
        "--mixed-precision",
        "--algorithm",
        "sgd",
        "--rate",
        "0.02",
        "--neuron-rate",
        "0.01",
        "--weight-decay",
        "5e-4",
        "-o",
        tuned,
    ]
    assert main(["finetune", net, *data, *options]) == 0
    assert "1 epochs on 4 images" in capsys.readouterr().out
    network = load(tuned)
    assert "SpikeBudget(weight=0.1, budget=0.5" in network.info["finetuned"]
    assert "norm='batch'" in network.info["finetuned"]
    assert "mixed_precision=True" in network.info["finetuned"]
    assert (
        "algorithm='sgd', rate=0.02, neuron_rate=0.01, weight_decay=0.0005"
        in (network.info["finetuned"])
    )
    assert len(network.info["calibration_images"]) == 4
    assert (tmp_path / "log" / "log.csv").exists()


@pytest.mark.parametrize("command", [finetune_command, sweep_command])
def test_torchrun_leaves_every_option_to_us(command):
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    ours = [name for action in parser._actions for name in action.option_strings]
    assert len(ours) > 5
    for name in set(ours) - {"-h", "--help"}:
        given = ["-m", "spikeport.scripts.cli", "command", name, "value"]
        assert get_args_parser().parse_args(given).training_script_args == given[2:]


@pytest.mark.slow
def test_torchrun_starts_it_in_two_processes(folder, tmp_path):
    net, tuned, curve = (str(tmp_path / name) for name in ("net.snn", "tuned.snn", "curve.json"))
    data = ["--data", str(folder), "--batch-size", "1"]
    assert main(["convert", "cifar10/resnet20", *data, "--images", "4", "-o", net]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for command in (
        ["finetune", net, *data, "--images", "4", "-T", "1", "--epochs", "1", "-o", tuned],
        ["sweep", tuned, *data, "-T", "1", "-o", curve],
    ):
        started = [*torchrun, "-m", "spikeport.scripts.cli", *command]
        done = subprocess.run(started, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert json.loads(Path(curve).read_text())["info"]["images"] == 4


def test_a_folder_without_classes_is_learnt_from_the_teacher(folder, tmp_path, capsys):
    flat, net, tuned = (str(tmp_path / name) for name in ("images/0", "net.snn", "tuned.snn"))
    assert main(["convert", "cifar10/resnet20", "--data", flat, "--neuron", "if", "-o", net]) == 0
    options = ["-T", "1", "--epochs", "1", "--batch-size", "2", "--validation", flat, "--augment"]
    assert main(["finetune", net, "--data", flat, *options, "-o", tuned]) == 0
    assert "losses=(Distillation(" in load(tuned).info["finetuned"]


def test_a_fine_tuned_network_is_no_teacher(folder, tmp_path, capsys):
    net, tuned, again = (str(tmp_path / name) for name in ("net.snn", "tuned.snn", "again.snn"))
    data = ["--data", str(folder), "--images", "2", "--batch-size", "2"]
    assert main(["convert", "cifar10/resnet20", *data, "--neuron", "if", "-o", net]) == 0
    options = [*data, "-T", "1", "--epochs", "1", "--recipe", "none"]
    assert main(["finetune", net, *options, "--losses", "cross-entropy", "-o", tuned]) == 0
    capsys.readouterr()
    for losses in ([], ["--losses", "cross-entropy,distillation"]):
        assert main(["finetune", tuned, *options, *losses, "-o", again]) == 2
        assert "pass --teacher MODEL" in capsys.readouterr().err
        assert not Path(again).exists()
    assert main(["finetune", tuned, *options, "--losses", "cross-entropy", "-o", again]) == 0
    assert main(["finetune", tuned, *options, "--teacher", "cifar10/resnet20", "-o", again]) == 0


def test_a_loss_that_is_none_is_named(folder, capsys):
    arguments = ["finetune", "x.snn", "--data", str(folder), "-T", "1", "-o", "y.snn"]
    with pytest.raises(SystemExit):
        main([*arguments, "--losses", "tet,hinge"])
    assert "'hinge' is no loss" in capsys.readouterr().err


def test_images_are_read_once_as_long_as_they_have_room(monkeypatch):
    class Files:
        read: list[int] = []

        def __len__(self):
            return 3

        def __getitem__(self, index):
            self.read.append(index)
            return torch.full((1, 2, 2), float(index)), index

    monkeypatch.setattr(finetune_command, "KEPT_BYTES", 2 * 16)
    files = Files()
    kept = _Kept(files)
    assert len(kept) == 3
    for index in (2, 0, 1, 2, 0, 1):
        image, label = kept[index]
        assert label == index
        assert bool((image == index).all())
    assert files.read == [2, 0, 1, 1]


def test_augmented_images_are_shifted_and_mirrored_and_the_seed_decides(folder):
    data = [(torch.arange(3 * 16 * 16.0).view(3, 16, 16) + 1, 4)] * 400
    augmented = _Augmented(data)

    def draw(seed):
        torch.manual_seed(seed)
        return [augmented[index][0] for index in range(400)]

    assert all(map(torch.equal, draw(3), draw(3)))
    image, drawn = data[0][0], draw(3)
    steps = {float(one[0, 8, 8] - one[0, 8, 7]) for one in drawn}
    assert steps == {1, -1}
    shifted = {float((one == 0).all(0).all(1).sum()) for one in drawn}  # rows of padding
    assert shifted == {0, 1, 2}
    assert any(torch.equal(one, image) for one in drawn)
    assert len(augmented) == 400
    assert augmented[0][1] == 4
