"""`spikeport bench` and the page of its numbers, on a small network."""

import argparse
import json

import pytest
import torch
from PIL import Image

from spikeport.cpu.loader import why_unavailable
from spikeport.scripts import cli
from spikeport.scripts.bench import device as bench_device
from spikeport.scripts.bench.runs import Contender, interleaved
from spikeport.scripts.cli import main
from spikeport.scripts.experiments import kernel_benchmark, performance_page

SMALL = ["-T", "2,5", "--batch-size", "2", "--size", "32", "--repeats", "2"]
NATIVE = why_unavailable() is None


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    assert main(["bench", "resnet10t", *SMALL, "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_json_has_every_number(report):
    machine, options = report["machine"], report["options"]
    assert machine["threads"] == torch.get_num_threads()
    assert machine["torch"] == torch.__version__
    assert machine["copy_bytes_per_second"] > 1e8
    assert (machine["peak_adds_per_thread"] is not None) == NATIVE
    assert options["command"] == (
        "spikeport bench resnet10t -T 2,5 --batch-size 2 --size 32 --repeats 2"
    )
    (model,) = report["models"]
    assert [row["timesteps"] for row in model["rows"]] == [2, 5]
    names = ["source", "torch", "cpu"] if NATIVE else ["source", "torch"]
    for row in model["rows"]:
        assert list(row["contenders"]) == names
        assert row["base"] == names[-1]
        assert 0 < row["density"] < 1
        assert row["synaptic_operations"] > 0
        for name, found in row["contenders"].items():
            assert found["runs"] == len(found["all_seconds"]) == 2
            base = row["contenders"][row["base"]]["seconds"]
            assert found["ratio"] == pytest.approx(found["seconds"] / base)
            assert (found["operations_per_second"] is None) == (name == "source")
    if NATIVE:
        assert model["rows"][-1]["contenders"]["cpu"]["relative_difference"] < 0.05


@pytest.mark.skipif(not NATIVE, reason="times the engine")
def test_whole_numbers_beside_floats(tmp_path, capsys):
    path = tmp_path / "bench.json"
    arguments = [*SMALL, "--only", "cpu", "--bits", "8", "--memory", "3", "--json", str(path)]
    assert main(["bench", "resnet10t", *arguments]) == 0
    assert "times as fast as in floats" in capsys.readouterr().out
    report = json.loads(path.read_text())
    (model,) = report["models"]
    assert model["bits"] == 8
    assert [row["name"] for row in model["memory"]] == ["cpu", "integers"]
    for row in model["rows"]:
        floats, integers = row["contenders"]["cpu"], row["contenders"]["integers"]
        assert integers["as_fast"] == pytest.approx(floats["seconds"] / integers["seconds"])
        peak = report["machine"]["peak_short_adds_per_thread"] * report["machine"]["threads"]
        assert integers["of_peak"] == pytest.approx(integers["operations_per_second"] / peak)
        assert integers["relative_difference"] < 0.5


def test_memory_is_measured_in_another_process(tmp_path, capsys):
    path = tmp_path / "bench.json"
    arguments = [*SMALL, "--only", "torch", "--memory", "3", "--json", str(path)]
    assert main(["bench", "resnet10t", *arguments]) == 0
    (model,) = json.loads(path.read_text())["models"]
    (row,) = model["memory"]
    assert (row["name"], row["timesteps"]) == ("torch", 3)
    assert row["peak_mib"] >= row["before_mib"] > 50
    assert "memory: torch" in capsys.readouterr().out


@pytest.mark.parametrize("peer", ["spikingjelly", "sinabs"])
def test_against_a_peer(peer, tmp_path, capsys):
    pytest.importorskip(peer)
    path = tmp_path / "bench.json"
    arguments = ["resnet10t", *SMALL, "--only", "torch", "--against", peer, "--json", str(path)]
    assert cli.main(["bench", *arguments]) == 0
    printed = capsys.readouterr().out
    assert peer in printed
    assert "max-pool(s) on the spikes" in printed
    (model,) = json.loads(path.read_text())["models"]
    notes = model["peers"][peer]
    assert {"version", "mode", "chunk", "differences", "first_layer", "trials"} <= set(notes)
    assert notes["chunk"] in [trial["chunk"] for trial in notes["trials"]]
    assert list(model["rows"][0]["contenders"]) == ["torch", peer]
    assert model["rows"][1]["contenders"][peer]["agreement"] is not None


def test_images_of_a_folder(tmp_path, capsys):
    for index in range(5):
        pixels = (torch.rand(40, 48, 3) * 255).byte().numpy()
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    arguments = ["bench", "resnet10t", *SMALL, "--only", "torch", "--data", str(tmp_path)]
    assert main(arguments) == 0
    assert "images of --data" in capsys.readouterr().out
    assert main([*arguments, "--batch-size", "5"]) == 2
    assert "5 images, of which 5 are timed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--neuron", "signed", "--against", "spikingjelly"], "plain IF"),
        (["--only", "cuda"], "--only cuda"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
    ],
)
def test_what_the_user_can_mend_is_one_line(arguments, message, capsys):
    if "--against" in arguments:
        pytest.importorskip("spikingjelly")
    assert main(["bench", "resnet10t", *SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_slow_contenders_run_once(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(bench_device.time, "perf_counter", lambda: next(clock))
    calls = []

    def named(name):
        return Contender(name, lambda t: calls.append(name) or torch.zeros(1, 1), lambda t: None)

    options = argparse.Namespace(repeats=3, budget=0.5)
    rows, _ = interleaved([named("a"), named("b")], 4, options)
    assert calls == ["a", "b"]
    assert [row["runs"] for row in rows.values()] == [1, 1]
    options.budget = 2.0
    rows, _ = interleaved([named("a"), named("b")], 4, options)
    assert calls[2:] == ["a", "b"] * 3  # in turns
    assert rows["a"]["runs"] == 3


@pytest.mark.skipif(not NATIVE, reason="times the engine")
def test_the_page_is_made_from_the_numbers(report, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kernel_benchmark, "SHAPES", [(8, 8, 6, 3, 1), (8, 8, 6, 3, 8)])
    monkeypatch.setattr("spikeport.scripts.experiments.kernel_curves.SHAPES", [(8, 8, 6, 3, 1)])
    kernel_benchmark.main(["-T", "4", "--repeats", "1", "--json", "--curves"])
    (tmp_path / "kernels.json").write_text(capsys.readouterr().out)
    report["models"][0]["memory"] = [
        {"name": "cpu", "timesteps": 64, "peak_mib": 777.0, "before_mib": 555.0}
    ]
    (tmp_path / "bench.json").write_text(json.dumps(report))
    page = tmp_path / "performance.md"
    files = [str(tmp_path / name) for name in ("bench.json", "kernels.json")]
    performance_page.main([*files, "-o", str(page)])
    text = page.read_text()
    assert report["options"]["command"] in text
    seconds = report["models"][0]["rows"][0]["contenders"]["cpu"]["seconds"]
    assert f"{seconds:.3g}" in text
    assert "8 → 8, 3×3, 6×6, depthwise" in text
    assert "| 64 | cpu | 777 | 555 |" in text
    for name in ("time", "density", "roofline"):
        plot = tmp_path / f"performance_{name}.png"
        assert plot.name in text
        assert 1000 < plot.stat().st_size < 80_000
