"""The command line, on images made here."""

import json
import subprocess
import sys

import pytest
import torch

from spikeport.convert.saving.container import load
from spikeport.scripts.cli import main
from tests.scripts.image_folder import write_images


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path, 72, 80)


@pytest.fixture
def saved(folder, tmp_path, capsys):
    torch.manual_seed(0)
    path = tmp_path / "net.snn"
    status = main(
        [
            "convert",
            "resnet10t",
            "--checkpoint",
            "random",
            "--data",
            str(folder),
            "--images",
            "3",
            "--neuron",
            "2:2",
            "-o",
            str(path),
        ]
    )
    assert status == 0
    assert "resnet10t" in capsys.readouterr().out
    return path


def test_convert_notes_how_the_network_was_made(saved):
    info = load(saved).info
    assert info["source"] == "resnet10t"
    assert info["neuron"].startswith("Neuron(max_up=2, max_down=2")
    assert len(info["calibration_images"]) == 3
    assert info["input"]["input_size"] == [3, 176, 176]


def test_convert_takes_the_task(folder, tmp_path, capsys):
    output = tmp_path / "values.snn"
    given = ["convert", "resnet10t", "--checkpoint", "random", "--data", str(folder)]
    given += ["--images", "2", "--task", "values", "-o", str(output)]
    assert main(given) == 0
    assert load(output).info["task"] == "values"
    capsys.readouterr()


def test_sweep_leaves_the_calibration_images_out(saved, folder, tmp_path, capsys):
    outputs = [tmp_path / f"curve.{ending}" for ending in ("csv", "json", "png")]
    options = [option for path in outputs for option in ("-o", str(path))]
    assert main(["sweep", str(saved), "--data", str(folder), "-T", "1,3", *options]) == 0
    printed = capsys.readouterr().out
    assert "3 images" in printed
    assert "left out" in printed
    assert "agreement" in printed
    content = json.loads(outputs[1].read_text())
    assert content["info"]["images"] == 5
    assert [row["timesteps"] for row in content["rows"]] == [1, 3]
    assert all(path.stat().st_size for path in outputs)


def test_sweep_against_a_named_reference(saved, folder, capsys, monkeypatch):
    from spikeport.scripts import saved_network

    asked = []

    def loaded(name, checkpoint):
        asked.append((name, checkpoint))
        return saved_network.load_model.__wrapped__(name, "random")

    original = saved_network.load_model
    loaded.__wrapped__ = original
    monkeypatch.setattr(saved_network, "load_model", loaded)
    arguments = ["sweep", str(saved), "--data", str(folder), "-T", "1", "--images", "2"]
    assert main([*arguments, "--reference"]) == 0
    assert main([*arguments, "--reference", "resnet18", "--reference-checkpoint", "w.pt"]) == 0
    assert asked == [("resnet10t", "random"), ("resnet18", "w.pt")]
    assert "agreement" in capsys.readouterr().out


def test_report_compares_files_and_names_the_command(saved, folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    other = tmp_path / "other.snn"
    other.write_bytes(saved.read_bytes())
    data = ["--data", str(folder), "--images", "3", "-T", "1,2", "--inspect", "0"]
    assert main(["report", str(saved), str(other), *data, "-o", str(page)]) == 0
    assert "left out" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert f"spikeport report {saved} {other} --data {folder}" in text
    assert "2 spiking networks compared" in text
    assert "3 images" in text
    assert "digest" in text


def test_inspect_names_every_neuron_layer(saved, folder, tmp_path, capsys):
    output = tmp_path / "found.json"
    arguments = ["inspect", str(saved), "--data", str(folder), "-T", "2", "--images", "1"]
    assert main([*arguments, "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "left out" in printed
    assert "1 images, T=2" in printed
    content = json.loads(output.read_text())
    assert {row["layer"] for row in content["rows"]} == set(load(saved).neurons)


def test_sweep_with_early_exit_and_another_encoding(saved, folder, tmp_path, capsys):
    path = tmp_path / "curve.json"
    arguments = ["sweep", str(saved), "--data", str(folder), "-T", "4", "--encoding", "ttfs:2"]
    exits = ["--early-exit", "0.5", "--exit-images", "3", "--exit-rule", "entropy"]
    assert main([*arguments, *exits, "-o", str(path)]) == 0
    assert "threshold set on 3 images" in capsys.readouterr().out
    info = json.loads(path.read_text())["info"]
    assert info["images"] == 2
    assert info["encoding"] == "time to first spike, windows of 2 timesteps"
    assert info["early_exits"][0]["exit"]["rule"] == "entropy"
    assert main([*arguments, *exits[:2]]) == 2
    assert "too few to set an early exit on 200" in capsys.readouterr().err


def test_cost_beside_the_source(saved, folder, tmp_path, capsys):
    path = tmp_path / "cost.json"
    arguments = ["cost", str(saved), "--data", str(folder), "--images", "2", "-T", "3"]
    options = ["--energy", "2,5", "--memory", "sram-32kb", "--encoding", "poisson:3"]
    assert main([*arguments, *options, "-o", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "2.0 pJ per AC, 5.0 pJ per MAC; your own numbers" in printed
    assert "32 KB SRAM" in printed
    content = json.loads(path.read_text())
    assert content["rows"][0]["network"] == "spiking, T=3"
    assert content["rows"][0]["macs"] == 0
    assert content["info"]["encoding"] == "Poisson spikes, seed 3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["convert", "resnet10t", "--checkpoint", "nowhere.pt", "--data", "IMAGES", "-o", "x"],
            "nowhere.pt",
        ),
        (
            ["convert", "resnet1000", "--checkpoint", "random", "--data", "IMAGES", "-o", "x"],
            "resnet1000",
        ),
        (
            ["convert", "resnet10t", "--checkpoint", "random", "--data", "nowhere", "-o", "x"],
            "nowhere",
        ),
        (["sweep", "nowhere.snn", "--data", "IMAGES"], "nowhere.snn"),
        (["report", "nowhere.snn", "--data", "IMAGES"], "nowhere.snn"),
        (["report", "a.snn", "a.snn", "--data", "IMAGES"], "each network once"),
        (["report", "a.snn", "--data", "IMAGES", "--inspect", "-1"], "--inspect -1"),
    ],
)
def test_what_the_user_can_mend_is_one_line(arguments, message, folder, capsys):
    given = [str(folder) if argument == "IMAGES" else argument for argument in arguments]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("spikeport: ")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["convert"],
        ["sweep", "x.snn", "--data", "d", "-T", "0"],
        ["convert", "resnet10t", "--data", "d", "-o", "x", "--neuron", "lif"],
        ["convert", "resnet10t", "--data", "d", "-o", "x", "--neuron", "0,1"],
        ["convert", "resnet10t", "--data", "d", "-o", "x", "--recipe", "magic"],
        ["convert", "resnet10t", "--data", "d", "-o", "x", "--encoding", "poisson:-1"],
        ["sweep", "x.snn", "--data", "d", "--encoding", "frames"],
        ["cost", "x.snn", "--data", "d", "-T", "4", "--energy", "1"],
        ["cost", "x.snn", "--data", "d", "-T", "4", "--memory", "tape"],
        ["cost", "x.snn", "--data", "d", "-T", "4", "-o", "cost.png"],
        ["inspect", "x.snn", "--data", "d", "-o", "found.txt"],
        ["sweep", "x.snn", "--data", "d", "-o", "curve.xlsx"],
    ],
)
def test_usage_errors_say_what_is_expected(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: spikeport" in capsys.readouterr().err


def test_it_starts_as_a_module():
    command = [sys.executable, "-m", "spikeport.scripts.cli", "sweep", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "-T" in done.stdout


@pytest.mark.parametrize("command", ["convert", "sweep", "inspect", "cost", "report", "demo"])
def test_help_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--data", "--neuron", "-o") if command == "convert" else ("-o",):
        assert option in text
