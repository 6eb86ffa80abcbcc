"""Diverse architectures convert; the sweep over all of them, its page, and its child processes."""

import csv
import json

import pytest

from spikeport.scripts.coverage import command as coverage
from spikeport.scripts.coverage import page as coverage_page
from spikeport.scripts.coverage import process as coverage_process
from spikeport.scripts.coverage.measure import EQUAL, convert, simulate
from spikeport.scripts.coverage.models import entries, is_relu_family, survey

# the smallest of their kind, beside those of tests/laws/architectures.py; name: group
ARCHITECTURES = {
    "resnet10t": "relu",
    "seresnet18": "relu",
    "ecaresnet26t": "relu",
    "skresnet18": "other",
    "nf_resnet26": "relu",
    "resnetv2_18": "relu",
    "res2net50_14w_8s": "relu",
    "repghostnet_050": "relu",
    "hrnet_w18_small": "relu",
    "cspresnet50": "relu",
    "selecsls42": "relu",
    "mobilenetv2_035": "relu",
    "tf_efficientnet_lite0": "relu",
    "tinynet_e": "other",
    "starnet_s1": "other",
    "test_vit": "other",
    "convit_tiny": "other",
    "efficientvit_m0": "other",
    "torchvision/squeezenet1_1": "relu",
    "torchvision/lraspp_mobilenet_v3_large": "other",
}
SIMULATED = {"resnet10t", "test_vit", "torchvision/squeezenet1_1"}


def surveyed(name):
    (entry,) = entries([name])
    return entry, survey(entry)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture(name):
    entry, known = surveyed(name)
    assert known["group"] == ARCHITECTURES[name]
    found = convert(entry, known)
    assert found.get("exact_difference", found["difference"]) < EQUAL
    assert found["left"] == []
    assert found["neurons"] > 5
    assert found["share"] > 0.9
    if name in SIMULATED:
        errors = simulate(entry, known)["errors"]
        assert coverage_page.falls(errors)
        assert errors[-1] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("group", "share"), [("relu", 1.0), ("other", 0.95)])
def test_the_whole_registries_convert(group, share, tmp_path):
    results = tmp_path / "coverage.jsonl"
    options = ["--group", group, "--results", str(results), "--steps", "survey", "convert"]
    coverage.main(["run", *options])
    rows = [coverage_page.judged(row) for row in coverage.read(results).values()]
    tried = [row for row in rows if row["run"]]
    failed = [row["name"] for row in tried if not (row["equal"] and row["replaced"])]
    assert len(tried) > 300
    assert len(failed) <= (1 - share) * len(tried), failed


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ({"convolution", "relu", "add"}, True),
        ({"relu", "sigmoid", "mul"}, True),
        ({"relu", "mul"}, False),  # of two streams
        ({"relu", "gelu"}, False),
        ({"sigmoid", "mul"}, False),
        ({"relu", "never seen"}, False),
    ],
)
def test_the_relu_family(operations, expected):
    assert is_relu_family(operations) == expected


def test_names_of_all_registries():
    names = [entry.name for entry in entries(["*"])]
    assert len(names) == len(set(names)) > 1000
    assert {"resnet18", "torchvision/resnet18", "torchvision/fcn_resnet50"} <= set(names)
    assert {entry.family for entry in entries(["resnet1?"])} == {"resnet"}


def run(path, *more):
    coverage.main(["run", "--models", "test_resnet", "test_vit", *more, "--results", str(path)])
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_sweep_goes_on_where_it_stopped_and_writes_its_page(tmp_path):
    results, page = tmp_path / "results.jsonl", tmp_path / "coverage.md"
    assert len(run(results, "--steps", "survey", "convert", "--group", "relu")) == 3
    assert len(run(results, "--steps", "survey", "convert", "--group", "relu")) == 3
    assert len(run(results)) == 6
    coverage.main(["page", "--results", str(results), "--page", str(page)])
    text = page.read_text()
    assert "| timm, ReLU family | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 |" in text
    assert "Nothing." in text
    with open(tmp_path / "coverage.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["test_resnet", "test_vit"]
    assert float(rows[0]["error at T=128"]) < float(rows[0]["error at T=8"])


def test_a_model_that_takes_too_long_is_stopped(tmp_path):
    nursery = coverage_process.Nursery(seconds=1, memory=5)
    (entry,) = entries(["vgg19"])
    found = nursery.run("convert", entry, {"pixels": 224, "channels": 3, "img_size": None})
    assert "stopped after 1 s" in found["convert_error"]
    assert found["convert_seconds"] < 30


def test_a_model_that_takes_too_much_memory_is_an_error():
    nursery = coverage_process.Nursery(seconds=100, memory=0.5)
    (entry,) = entries(["vgg19"])
    found = nursery.run("convert", entry, {"pixels": 32, "channels": 3, "img_size": None})
    assert "memory" in found["convert_error"]


def test_failures_are_listed_with_their_reason(tmp_path):
    row = {"name": "a", "library": "timm", "family": "f", "parameters": 1, "group": "relu"}
    good = {"convert_error": "", "convert_seconds": 1, "difference": 1e-7, "left": [], "macs": 1}
    rows = {
        "a": row | good | {"share": 1.0, "simulate_seconds": 1, "errors": [0.1, 0.2, 0.1]},
        "b": row | good | {"name": "b", "share": 1.0, "difference": 1e-3},
        "c": row | good | {"name": "c", "share": 1.0, "left": ["relu in module 'x'"]},
        "d": row | {"name": "d", "convert_error": "ValueError: no | way", "convert_seconds": 1},
    }
    coverage_page.write(rows, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| timm, ReLU family | 4 | 4 | 4 | 3 | 2 | 2 | 1 | 0 |" in text
    assert "| a | the error falls too slowly: 0.1, 0.2, 0.1 at T = 8, 32, 128 |" in text
    assert "| b | differs by 1.0e-03 |" in text
    assert "| c | 1 left, the first is relu in module 'x' |" in text
    assert "| d | ValueError: no / way |" in text
