"""`spikeport bench --device cuda`, on CPU tensors through the stand-in for CuPy."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spikeport.scripts.bench import device as bench_device
from spikeport.scripts.bench import neurons as bench_neurons
from spikeport.scripts.bench import setup as bench_setup
from spikeport.scripts.bench.neurons import IF, SIGNED
from spikeport.scripts.cli import main
from spikeport.scripts.peers import find

SMALL = ["--device", "cuda", "-T", "2,5", "--batch-size", "2", "--size", "8", "--repeats", "2"]
NAME = "NVIDIA Stand-In"


def tiny(name, checkpoint):
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 5)).eval()


@pytest.fixture
def small(monkeypatch):
    """Little to simulate, and nothing for torch to compile."""
    monkeypatch.setattr(bench_setup, "load_model", tiny)
    monkeypatch.setattr(bench_neurons, "SHAPE", (2, 4, 4, 4))
    monkeypatch.setattr(bench_neurons, "TIMESTEPS", 8)
    monkeypatch.setattr(bench_device, "ROUNDS", 1)
    monkeypatch.setattr(bench_device, "COPY_BYTES", 2**20)
    monkeypatch.setattr(torch, "compile", lambda module: module)


@pytest.fixture
def device(cupy, small, monkeypatch):
    """The stand-in, with what torch would say of a GPU."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**26, 2**30))
    monkeypatch.setattr(bench_setup, "gpu", lambda device: NAME)
    return cupy


def report(arguments, tmp_path):
    path = tmp_path / "bench.json"
    assert main(["bench", "tiny", *SMALL, *arguments, "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_networks_and_kernels_are_timed(device, tmp_path, capsys):
    found, printed = report([], tmp_path), capsys.readouterr().out
    assert found["machine"]["gpu"] == NAME
    assert printed.startswith(f"{NAME}, copy ")
    assert "--device cuda" in found["options"]["command"]
    for row in found["models"][0]["rows"]:
        assert list(row["contenders"]) == ["source", "torch", "cuda"]
        assert row["base"] == "cuda"
        assert row["contenders"]["cuda"]["relative_difference"] < 1e-4
        for contender in row["contenders"].values():
            assert contender["images_per_second"] == pytest.approx(2 / contender["seconds"])
            assert contender["of_peak"] is None
    assert "images/s" in printed
    kernels = [(row["kernel"], row["dtype"]) for row in found["neurons"]]
    assert kernels[:3] == [(name, "float32") for name, *_ in bench_neurons.FORMS]
    assert [dtype for _, dtype in kernels[3:]] == ["float16"] * 3
    for row in found["neurons"]:
        assert list(row["others"]) == ["torch eager", "torch.compile"]
        assert row["bytes_per_second"] == pytest.approx(
            row["bytes_per_step"] * row["steps_per_second"]
        )
        share = row["bytes_per_second"] / found["machine"]["copy_bytes_per_second"]
        assert row["of_copy"] == pytest.approx(share)
        assert f"{row['bytes_per_step']:.3f} B/step" in printed


@pytest.mark.parametrize(
    ("spec", "emit", "dtype", "expected"),
    [
        (IF, "packed", torch.float32, 4.125),
        (IF, "packed", torch.float16, 2.125),
        (SIGNED, "packed", torch.float32, 4.25),
        (SIGNED, "packed", torch.float16, 2.25),
        (IF, "values", torch.float32, 8),
        (IF, "values", torch.float16, 4),
    ],
)
@torch.no_grad()
def test_bytes_are_those_of_the_launch(cupy, spec, emit, dtype, expected):
    current = torch.randn(8, 2, 4, 4, 8).to(dtype)
    arguments = bench_neurons._arguments(spec, current, emit)
    outputs = bench_neurons.scan(*arguments)
    moved = bench_neurons.nbytes(*arguments, *outputs)
    assert moved == cupy.bytes[-1]
    state = (16 if spec == SIGNED else 8) / len(current)
    thresholds = 4 * 4 / current.numel()
    assert moved / current.numel() == pytest.approx(expected + state + thresholds)


def test_against_spikingjelly(device, tmp_path, capsys):
    pytest.importorskip("spikingjelly")
    found = report(["--only", "cuda", "--against", "spikingjelly"], tmp_path)
    assert "SpikingJelly multi-step" in capsys.readouterr().out
    for row in found["neurons"]:
        assert ("SpikingJelly multi-step" in row["others"]) == row["kernel"].startswith("IF")
    (model,) = found["models"]
    assert model["rows"][0]["contenders"]["spikingjelly"]["agreement"] is not None


@pytest.mark.parametrize("name", ["spikingjelly", "spikingjelly-compiled"])
def test_every_implementation_of_a_peer_is_tried(name, monkeypatch):
    pytest.importorskip("spikingjelly")
    from spikeport.scripts.peers.spikingjelly_implementations import _selection, choose

    def select(index, *, execution="eager"):
        if _selection._requested == "cuda":
            raise RuntimeError("not built")
        tried.append((_selection._requested, execution))
        return SimpleNamespace(name=_selection._requested, unavailable={})

    tried = []
    monkeypatch.setattr(_selection, "_select", select)
    monkeypatch.setattr(_selection, "_selections", {})
    monkeypatch.setattr(_selection, "_compiled_selections", {})
    modes = find(name, torch.device("cuda", 0)).modes
    execution = "compile" if name.endswith("compiled") else "eager"
    assert tried == [("triton", execution), ("torch", execution)]
    assert [mode.name.split(", ")[1] for mode in modes if ", " in mode.name] == ["triton", "torch"]
    assert _selection._requested == "auto"
    layer = modes[0].layer()
    layer.start(torch.zeros(2, 3))
    assert _selection._requested == "triton"
    choose("auto")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "cpu"], "--only cpu: expected some of source, torch, cuda"),
        (["--memory", "3"], "--memory"),
    ],
)
def test_what_a_gpu_cannot_is_one_line(arguments, message, device, capsys):
    assert main(["bench", "tiny", *SMALL, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["bench", "tiny", *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.startswith("spikeport: --device cuda: CuPy")
    assert error.count("\n") == 1


def test_a_torch_without_cuda_is_named(cupy, monkeypatch, capsys):
    monkeypatch.setattr("spikeport.cuda.launch.DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", "tiny", *SMALL]) == 2
    assert "install a CUDA build" in capsys.readouterr().err


def test_the_clock_waits_for_the_device(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    monkeypatch.setattr(bench_device.time, "perf_counter", lambda: events.append("clock") or 1.0)
    gpu = torch.device("cuda", 0)
    assert bench_device.timed(lambda: events.append("call"), gpu) == (0.0, None)
    assert events == ["wait", "clock", "call", "wait", "clock"]
    events.clear()
    bench_device.quickest(lambda: events.append("call"), gpu)
    assert events.count("call") == 1 + bench_device.ROUNDS * bench_device.CALLS
    assert events.count("wait") == 2 * bench_device.ROUNDS


@pytest.mark.gpu
def test_on_a_gpu(small, tmp_path):
    found = report([], tmp_path)
    assert found["machine"]["gpu"] == torch.cuda.get_device_name()
    row = found["models"][0]["rows"][-1]["contenders"]["cuda"]
    assert row["relative_difference"] < 0.05
