"""``python -m spikeport.scripts.gpu_check``: every section on tiny networks, without a GPU."""

import json
import os
import re
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from spikeport.scripts.bench import device as bench_device
from spikeport.scripts.bench import neurons as bench_neurons
from spikeport.scripts.bench import setup as bench_setup
from spikeport.scripts.gpu_check import (
    command,
    networks,
    page,
    process,
    products,
    property_tests,
    sections,
    training,
)
from spikeport.scripts.gpu_check.command import main
from spikeport.scripts.gpu_check.deadline import Deadline
from spikeport.scripts.gpu_check.sections import SECTIONS, Section
from spikeport.scripts.peers.peer import Mode, Peer

NAME = "NVIDIA Stand-In"
COMMAND = "python -m spikeport.scripts.gpu_check -o gpu.json"
DOCS = Path(__file__).parents[2] / "docs" / "gpu.md"
SANITIZER = """#!/bin/sh
echo "========= COMPUTE-SANITIZER"
echo "tests/cuda/test_device.py::test_x[1] PASSED [100%]"
echo "========= Invalid __global__ read of size 4 bytes"
echo "========= ERROR SUMMARY: {errors} error"
exit {status}
"""


def tiny(name, checkpoint):
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 5)).eval()


def here(name, seconds):
    return process.here(name, seconds, lambda found: None)


@pytest.fixture
def small(cupy, monkeypatch):
    """Little to do in every section, on the stand-in."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**26, 2**30))
    monkeypatch.setattr(bench_setup, "load_model", tiny)
    monkeypatch.setattr(bench_neurons, "SHAPE", (2, 4, 8, 8))
    monkeypatch.setattr(bench_neurons, "TIMESTEPS", 4)
    monkeypatch.setattr(bench_device, "ROUNDS", 1)
    monkeypatch.setattr(bench_device, "COPY_BYTES", 2**20)
    monkeypatch.setattr("spikeport.scripts.gpu_check.kernels.gpu", lambda device: NAME)
    monkeypatch.setattr(networks, "MODELS", ("tiny",))
    monkeypatch.setattr(networks, "TIMESTEPS", (2, 5))
    monkeypatch.setattr(networks, "SIZE", 8)
    monkeypatch.setattr(networks, "BATCH", 2)
    monkeypatch.setattr(networks, "RUNS", 1)
    monkeypatch.setattr(products, "SHAPES", ((8, 8, 6, 3), (8, 16, 5, 1)))
    monkeypatch.setattr(products, "IMAGES", 3)
    monkeypatch.setattr(training, "BATCH", 2)
    monkeypatch.setattr(training, "FEW", 2)
    monkeypatch.setattr(training, "TIMESTEPS", 2)
    monkeypatch.setattr(training, "COMPILING", 1e9)
    monkeypatch.setattr(property_tests, "marked", lambda name="": [Path(__file__)])
    monkeypatch.setattr(property_tests, "_pytest", lambda *given: [sys.executable, "-c", SAID])


SAID = "print('tests/a.py::test_b[c d] PASSED [ 50%]'); print('a.py::test_e SKIPPED (why) [99%]')"


@pytest.fixture
def sanitizer(tmp_path, monkeypatch):
    """compute-sanitizer as a script that reports so many errors."""

    def install(errors, status):
        path = tmp_path / "compute-sanitizer"
        path.write_text(SANITIZER.format(errors=errors, status=status))
        path.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


def test_every_section_runs_and_the_page_shows_it(small, sanitizer, tmp_path, capsys):
    sanitizer(0, 0)
    path, docs = tmp_path / "gpu.json", tmp_path / "gpu.md"
    assert main(["-o", str(path)], here) == 0
    report, printed = json.loads(path.read_text()), capsys.readouterr().out
    found = report["sections"]
    assert list(found) == list(SECTIONS)
    assert {part["status"] for part in found.values()} == {"done"}, printed
    kernels = {row["kernel"] for row in found["kernels"]["rows"]}
    assert len(kernels) == 14
    assert all(row["bytes_per_second"] > 0 for row in found["kernels"]["rows"])
    assert found["tests"]["outcomes"] == {"PASSED": 1, "SKIPPED": 1}
    assert found["memcheck"]["errors"] == 0
    assert all(row["int8_equal"] for row in found["products"]["rows"])
    assert [row["float_off_by"] for row in found["products"]["rows"]] == [0, 0]
    for model in found["networks"]["models"]:
        assert "error" not in model
        assert [row["timesteps"] for row in model["rows"]] == [2, 5]
        for row in model["rows"]:
            assert list(row["contenders"])[:3] == list(networks.OURS)
            assert all("seconds" in each for each in row["contenders"].values())
            assert row["contenders"]["cuda"]["off_by"] < 0.01
            assert row["contenders"]["cuda"]["equal"] or model["form"] != "integer"
    assert [model["form"] for model in found["networks"]["models"]] == list(networks.FORMS)
    assert found["training"]["gradients_off_by"] == 0
    assert list(found["training"]["seconds_of_step"]) == ["plain"]
    assert f"{NAME}, copy" in printed
    docs.write_text(DOCS.read_text("utf-8"))
    assert main(["--page", str(path), "--docs", str(docs)]) == 0
    made = docs.read_text("utf-8")
    assert NAME in made
    assert COMMAND in page.SECTION.search(made)[0]
    assert "| scan: IF to bits | float32 |" in made
    assert "| tiny | half | 5 |" in made
    assert "never run on a GPU" not in page.SECTION.search(made)[0]
    outside = page.SECTION.sub("", DOCS.read_text("utf-8"))
    assert page.SECTION.sub("", made) == outside
    page.write(report, docs)
    assert docs.read_text("utf-8") == made


def test_the_page_says_how_it_is_made():
    (section,) = page.SECTION.findall(DOCS.read_text("utf-8"))
    assert COMMAND in section
    for name, part in SECTIONS.items():
        assert f"| `{name}` | {part.seconds:g} |" in DOCS.read_text("utf-8")
    if "never run on a GPU" in section:  # then it gives no numbers
        assert not re.search(r"\d+(\.\d+)? (GB/s|ms)", section)


def test_a_page_without_the_section_is_refused(tmp_path):
    docs = tmp_path / "page.md"
    docs.write_text("# A page\n")
    with pytest.raises(ValueError, match="0 sections '## Measured on a GPU'"):
        page.write({"machine": {}, "sections": {}}, docs)


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["-o", str(tmp_path / "gpu.json")]) == 2
    said = capsys.readouterr().out
    assert "there is no GPU to check on: CuPy" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "gpu.json").exists()


def partly(device, deadline):
    yield {"rows": [1]}
    raise RuntimeError("an illegal memory access")


def fine(device, deadline):
    yield {"left": deadline.left}


@pytest.fixture
def two(cupy, monkeypatch):
    """Two sections in the place of the real ones, the first of which fails."""
    monkeypatch.setitem(SECTIONS, "kernels", Section(30, partly))
    monkeypatch.setitem(SECTIONS, "training", Section(30, fine))
    monkeypatch.setattr(command, "lines", lambda name, found: [str(found)])


def test_a_section_that_fails_leaves_what_it_had_and_the_others(two, tmp_path):
    path = tmp_path / "gpu.json"
    assert main(["-o", str(path), "--only", "kernels", "training"], here) == 1
    first, second = json.loads(path.read_text())["sections"].values()
    assert first["status"] == "failed"
    assert first["rows"] == [1]
    assert "RuntimeError: an illegal memory access" in first["error"]
    assert second["status"] == "done"
    assert 0 < second["left"] <= 30


def test_what_is_found_is_written_after_each_section(two, tmp_path):
    path, seen = tmp_path / "gpu.json", []

    def run(name, seconds):
        seen.append(list(json.loads(path.read_text())["sections"]) if path.exists() else None)
        return {"status": "done", "seconds": 1.0}

    main(["-o", str(path), "--only", "kernels", "training"], run)
    assert seen == [None, ["kernels"]]


def test_a_section_has_no_more_than_what_is_left(two, tmp_path, monkeypatch):
    clock, given = [100.0], []
    monkeypatch.setattr(command, "Deadline", partial(Deadline, clock=lambda: clock[0]))

    def run(name, seconds):
        given.append(seconds)
        clock[0] += 38.0
        return {"status": "done", "seconds": 38.0}

    names = ["kernels", "training", "products"]
    report = command.check(names, 40.5, tmp_path / "gpu.json", run)
    assert given == [30, 2.5]
    assert report["sections"]["products"]["status"] == "left out"
    assert sum(section.seconds for section in SECTIONS.values()) < sections.TOTAL


def test_a_process_that_dies_or_hangs_is_told_of(monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.0)
    for code, seconds, status, said in (
        (
            "print('the last words'); import os; os._exit(7)",
            20.0,
            "failed",
            "ended with 7: the last",
        ),
        ("import time; time.sleep(60)", 0.5, "stopped", "took too long"),
    ):
        own = process.subprocess.Popen
        monkeypatch.setattr(
            process.subprocess,
            "Popen",
            lambda words, own=own, code=code, **how: own([sys.executable, "-c", code], **how),
        )
        begin = time.monotonic()
        found = process.isolated("kernels", seconds)
        monkeypatch.setattr(process.subprocess, "Popen", own)
        assert found["status"] == status
        assert said in found["error"]
        assert time.monotonic() - begin < 20


def test_a_process_of_its_own_hands_back_what_it_found():
    found = process.isolated("kernels", 60.0)
    assert found["status"] == "failed"  # for want of a GPU, said by the process itself
    assert "--device cuda: " in found["error"]


def test_imports_are_part_of_a_section_s_time(two, tmp_path):
    path = tmp_path / "part.json"
    until = str(time.time() + 10.0)
    assert main(["--section", "training", "--until", until, "-o", str(path)]) == 0
    assert json.loads(path.read_text())["left"] < 10.0


def test_memory_errors_fail_the_section(small, sanitizer):
    sanitizer(3, 9)
    found = here("memcheck", 30)
    assert found["status"] == "failed"
    assert found["errors"] == 3
    assert found["reports"] == ["Invalid __global__ read of size 4 bytes"]
    assert found["outcomes"] == {"PASSED": 1}


def test_what_is_missing_is_left_out_by_name(small, monkeypatch):
    monkeypatch.setattr(property_tests.shutil, "which", lambda name, path: None)
    assert "compute-sanitizer is not on PATH" in here("memcheck", 30)["left_out"]
    monkeypatch.setattr(property_tests, "marked", lambda name="": [])
    found = here("tests", 30)
    assert found["status"] == "done"
    assert "not installed" in found["left_out"]


def test_tests_that_take_too_long_leave_their_outcomes(small, monkeypatch):
    slow = "import time; print('a.py::test_b PASSED', flush=True); time.sleep(60)"
    monkeypatch.setattr(property_tests, "_pytest", lambda *given: [sys.executable, "-c", slow])
    found = here("tests", property_tests.RESERVE + 2)
    assert found["outcomes"] == {"PASSED": 1}
    assert found["in_time"] is False


def test_the_tests_for_a_gpu_are_found_and_named():
    names = {path.name for path in property_tests.marked()}
    assert names >= {"test_device.py", "test_available.py", "test_pipeline.py"}
    text = Path(__file__).with_name("test_device.py").read_text("utf-8")
    for word in property_tests.FEW.split(" or "):
        assert re.search(rf"    test_\w*{word}", text), word
    said = "a.py::test_c[x y] FAILED [ 5%]\nb.py::test_d ERROR\nc.py::test_e PASSED   [ 9%]\n"
    found = property_tests.outcomes(said)
    assert found["outcomes"] == {"FAILED": 1, "ERROR": 1, "PASSED": 1}
    assert found["failed"] == ["a.py::test_c[x y]", "b.py::test_d"]


class PlainNeurons:
    """IF neurons of threshold 1 as another tool would have them."""

    def start(self, v0):
        self.v = v0

    def __call__(self, current):
        spikes = []
        for now in current:
            self.v = self.v + now
            spikes.append((self.v >= 1).to(now.dtype))
            self.v = self.v - spikes[-1]
        return torch.stack(spikes)


@torch.no_grad()
def test_each_implementation_of_another_tool_is_timed(small, monkeypatch):
    modes = Mode("multi-step, torch", PlainNeurons), Mode("multi-step, triton", PlainNeurons)
    peer = Peer("spikingjelly", "2.0", True, (*modes, Mode("single-step", PlainNeurons, 1)))
    monkeypatch.setattr(networks, "find", lambda name, device: peer)
    *_, last = networks.measure(torch.device("cpu"), Deadline(100.0))
    for model in last["models"]:
        for row in model["rows"]:
            if model["form"] == "integer":
                assert "plain IF" in model["no_spikingjelly"]
                continue
            theirs = {name: x for name, x in row["contenders"].items() if "SpikingJelly" in name}
            assert list(theirs) == [f"SpikingJelly {mode.name}" for mode in modes]
            assert all(
                x["off_by"] < (0.01 if model["form"] == "float" else 0.3) for x in theirs.values()
            )


def test_what_would_take_too_long_is_left_out(small, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(networks, "MODELS", ("tiny",))

    def timed(call, device):
        clock[0] += 10.0
        return 10.0, call()

    monkeypatch.setattr(networks, "timed", timed)
    *_, last = networks.measure(torch.device("cpu"), Deadline(95.0, lambda: clock[0]))
    rows = [row["contenders"] for model in last["models"] for row in model["rows"]]
    left_out = [each["left_out"] for row in rows for each in row.values() if "left_out" in each]
    assert left_out
    assert all("it would take" in each for each in left_out)
    assert clock[0] <= 110.0
