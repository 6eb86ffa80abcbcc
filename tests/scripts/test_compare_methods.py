"""The comparison of methods on a tiny network and images made here."""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from spikeport.calibration.percentile import PercentileThreshold
from spikeport.calibration.recipes import RECIPES, Recipe
from spikeport.convert import KINDS, ConversionError, Neuron
from spikeport.convert.neurons import Differential, MultiThreshold, spelled
from spikeport.scripts.compare import images as compare_images
from spikeport.scripts.compare import methods as compare_methods
from spikeport.scripts.compare import runs as compare_runs
from spikeport.scripts.compare.images import read_samples
from spikeport.scripts.compare.plot import plot
from spikeport.scripts.compare.results import COLUMNS, Results
from spikeport.scripts.compare.table import lost, marked
from spikeport.scripts.options import fingerprint, neuron_list
from spikeport.zoo.images import input_config

SMALL = ["--images", "6", "--calibration-images", "4", "--batch-size", "4"]


class Tiny(nn.Sequential):
    pretrained_cfg = {
        "input_size": (3, 8, 8),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.3, 0.3, 0.3),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
    }

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, 2),
        )  # fmt: skip


@dataclass(frozen=True)
class Stumbles:
    """A pass that fails, or refuses every neuron but IF."""

    refuses: bool = False

    def __call__(self, network, batches, progress=True):
        if not self.refuses:
            raise RuntimeError("no\nsuch, luck")
        models = {neuron.model for neuron in network.neurons.values()}
        if models != {KINDS["if"]}:
            raise ConversionError("for IF neurons only")
        PercentileThreshold()(network, batches, progress)


@dataclass(frozen=True)
class Aimed:
    """Thresholds for one T."""

    timesteps: int

    def __call__(self, network, batches, progress=True):
        PercentileThreshold()(network, batches, progress)


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    found = {
        "any": Recipe("any T", lambda network, T: [PercentileThreshold()]),
        "aimed": Recipe("one T", lambda network, T: [Aimed(T)], KINDS["signed"], True),
        "chooses": Recipe("by T", lambda network, T: [PercentileThreshold(99 if T < 3 else 95)]),
        "broken": Recipe("fails", lambda network, T: [Stumbles()]),
        "if-only": Recipe("refuses", lambda network, T: [Stumbles(True)], KINDS["if"]),
    }
    for name in list(RECIPES):
        monkeypatch.delitem(RECIPES, name)
    for name, recipe in found.items():
        monkeypatch.setitem(RECIPES, name, recipe)


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setattr(compare_methods, "load_model", lambda name, checkpoint: Tiny().eval())
    monkeypatch.setattr(compare_methods, "plot", lambda *_: None)  # half a second each time


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 6), ("test", 4)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = (torch.rand(8, 8, 3, generator=generator) * 255).byte().numpy()
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return root


@pytest.fixture
def converted(monkeypatch):
    """Recipe, neuron and T of each conversion."""
    calls = []
    real = compare_runs.to_snn

    def counting(model, data, neuron, recipe, timesteps, **options):
        calls.append((recipe, spelled(neuron), timesteps))
        return real(model, data, neuron, recipe, timesteps, **options)

    monkeypatch.setattr(compare_runs, "to_snn", counting)
    return calls


def run(data: Path, out: Path, *options: str) -> int:
    folders = ["--data", str(data / "train"), "--test-data", str(data / "test")]
    return compare_methods.main(["tiny", *folders, *SMALL, "-o", str(out), *options])


def test_one_run_for_all_T_unless_the_recipe_is_for_one(data, tmp_path, converted):
    options = ["--recipes", "any,aimed,chooses", "--neurons", "if,8:8", "-T", "4,1,2"]
    assert run(data, tmp_path, *options) == 0
    assert sorted(converted) == [
        ("aimed", "signed", 1),
        ("aimed", "signed", 2),
        ("aimed", "signed", 4),
        ("any", "8:8", 4),
        ("any", "if", 4),
        ("chooses", "8:8", 2),
        ("chooses", "8:8", 4),
        ("chooses", "if", 2),
        ("chooses", "if", 4),
    ]
    cells = {(r["recipe"], r["neuron"], r["T"]) for r in Results(tmp_path / "results.csv").rows()}
    assert len(cells) == 3 + 2 * 3 + 2 * 3


def test_every_column_is_filled(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare_methods, "plot", plot)
    assert run(data, tmp_path, "--recipes", "any", "--neurons", "signed", "-T", "1,4") == 0
    rows = Results(tmp_path / "results.csv").rows()
    assert [row["T"] for row in rows] == [1, 4]
    for row in rows:
        assert {name for name in COLUMNS if row[name] in ("", None)} == {
            "error",
            "calibrated_for_T",
        }
        assert row["drop_points"] == pytest.approx(100 * (row["source_top1"] - row["top1"]), 1e-3)
        assert row["acs_per_source_mac"] == pytest.approx(row["acs"] / row["source_macs"], 1e-5)
        assert (row["images"], row["calibration_images"]) == (6, 4)
        assert (row["levels"], row["simulated_T"]) == ("3", 4)
        assert row["latency"].startswith("streaming")
    table = (tmp_path / "table.md").read_text()
    assert "| recipe | neuron | T |" in table
    assert "- calibration images: 4" in table
    assert table.count("| any | signed |") == 2
    assert table.count("| best, cheapest |") == 2
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert printed.count("most accurate: any, signed") == 2
    assert printed.count("cheapest within 1 point") == 2


def test_started_again_it_runs_what_is_missing(data, tmp_path, converted):
    def again(*options):
        converted.clear()
        assert run(data, tmp_path, "--recipes", "any,aimed", "--neurons", "if", *options) == 0
        return sorted(converted)

    assert again("-T", "1,2") == [("aimed", "signed", 1), ("aimed", "signed", 2), ("any", "if", 2)]
    assert again("-T", "1,2", "--batch-size", "3") == []
    assert again("-T", "1,2,3") == [("aimed", "signed", 3), ("any", "if", 3)]
    assert (tmp_path / "table.md").read_text().count("\n| any | if |") == 3
    assert len(again("-T", "1", "--seed", "1")) == 2  # other images
    assert (tmp_path / "table.md").read_text().count("\n| any | if |") == 1


def test_other_passes_under_the_same_name_are_run(data, tmp_path, converted, monkeypatch):
    options = ["--recipes", "any", "--neurons", "if", "-T", "2"]
    assert run(data, tmp_path, *options) == 0
    changed = Recipe("any T", lambda network, T: [PercentileThreshold(90.0)])
    monkeypatch.setitem(RECIPES, "any", changed)
    assert run(data, tmp_path, *options) == 0
    assert len(converted) == 2
    assert (tmp_path / "table.md").read_text().count("\n| any | if |") == 1


def test_other_weights_are_run(data, tmp_path, converted, monkeypatch):
    options = ["--recipes", "any", "--neurons", "if", "-T", "2"]
    assert run(data, tmp_path, *options) == 0
    torch.manual_seed(7)
    other = Tiny().eval()
    monkeypatch.setattr(compare_methods, "load_model", lambda name, checkpoint: other)
    assert run(data, tmp_path, *options) == 0
    assert len(converted) == 2


def test_a_failure_is_recorded_and_the_others_go_on(data, tmp_path, converted, capsys):
    options = ["--recipes", "broken,any", "--neurons", "if", "-T", "1,2"]
    assert run(data, tmp_path, *options) == 1
    assert [recipe for recipe, *_ in converted] == ["broken", "any"]
    error = capsys.readouterr().err
    assert "RuntimeError: no such, luck" in error
    assert "2 cells failed" in error
    assert "broken, if, T=2: failed: RuntimeError" in (tmp_path / "table.md").read_text()
    assert run(data, tmp_path, *options) == 1
    assert len(converted) == 2
    assert run(data, tmp_path, *options, "--retry-failed") == 1
    assert len(converted) == 3
    RECIPES["broken"] = RECIPES["any"]
    assert run(data, tmp_path, *options) == 0
    assert "failed" not in (tmp_path / "table.md").read_text()


def test_all_neurons_and_those_that_a_recipe_refuses(data, tmp_path, converted):
    options = ["--recipes", "if-only", "--neurons", "signed,if", "-T", "1"]
    assert run(data, tmp_path, *options) == 0
    assert run(data, tmp_path, *options, "--all-neurons") == 0
    assert converted == [("if-only", "if", 1), ("if-only", "signed", 1)]
    rows = Results(tmp_path / "results.csv").rows()
    assert [row["status"] for row in rows] == ["ok", "refused"]


def test_a_row_that_was_cut_off_is_run_again(data, tmp_path, converted):
    options = ["--recipes", "any", "--neurons", "if,signed", "-T", "1"]
    assert run(data, tmp_path, *options) == 0
    file = tmp_path / "results.csv"
    for lost_bytes in (3, 100):
        file.write_bytes(file.read_bytes()[:-lost_bytes])
        converted.clear()
        assert run(data, tmp_path, *options) == 0
        assert converted == [("any", "signed", 1)]
    assert len(Results(file).by_key()) == 2


def test_results_of_another_version_are_left_alone(data, tmp_path, capsys):
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    assert run(data, tmp_path, "--recipes", "any", "-T", "1") == 2
    assert "other columns" in capsys.readouterr().err


def test_interrupted_it_keeps_what_is_finished(data, tmp_path, monkeypatch):
    real = compare_runs.to_snn

    def stopped(model, data, neuron, *others, **options):
        if neuron == KINDS["signed"]:
            raise KeyboardInterrupt
        return real(model, data, neuron, *others, **options)

    monkeypatch.setattr(compare_runs, "to_snn", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, "--recipes", "any", "--neurons", "if,signed", "-T", "1")
    with open(tmp_path / "results.csv", newline="") as file:
        assert [row["neuron"] for row in csv.DictReader(file)] == ["if"]
    assert "| any | if |" in (tmp_path / "table.md").read_text()


def test_images_without_labels(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare_methods, "plot", plot)
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for file in (data / part).rglob("*.png"):
            shutil.copy(file, tmp_path / part / f"{file.parent.name}{file.name}")
    options = ["--recipes", "any", "--neurons", "8:8", "-T", "2"]
    assert run(tmp_path, tmp_path / "out", *options) == 0
    (row,) = Results(tmp_path / "out" / "results.csv").rows()
    assert (row["top1"], row["drop_points"], row["source_top1"]) == (None, None, None)
    assert "changed class" in capsys.readouterr().out


def drawn(samples):
    return {images.numpy().tobytes() for batch, _ in samples.batches for images in batch}


def test_no_image_serves_for_both(data, tmp_path):
    config = input_config(Tiny())
    train, test = str(data / "train"), str(data / "test")
    for tested in (None, train, test):
        calibration, evaluation = read_samples(config, train, tested, (5, 7), (2, 3), seed=0)
        assert (len(drawn(calibration)), len(drawn(evaluation))) == (5, 7)
        assert not drawn(calibration) & drawn(evaluation)
        assert calibration.length == len(list(calibration.batches)) == 3
    more = read_samples(config, train, None, (2, 7), (2, 3), seed=0)[1]
    assert more.digest == read_samples(config, train, None, (5, 7), (1, 1), seed=0)[1].digest

    shutil.copytree(data / "train", tmp_path / "copy")  # the same images under other names
    with pytest.raises(ValueError, match="only 5 images that are not evaluated on"):
        read_samples(config, str(tmp_path / "copy"), train, (6, 7), (2, 3), seed=0)
    files = list((tmp_path / "copy").rglob("*.png"))
    assert len({fingerprint(file) for file in files}) == len(files)


def test_images_that_do_not_fit_are_read_again(data, monkeypatch):
    monkeypatch.setattr(compare_images, "IN_MEMORY", 0)
    config = input_config(Tiny())
    samples, _ = read_samples(config, str(data / "train"), None, (3, 3), (2, 2), seed=0)
    assert not isinstance(samples.batches, list)
    asked = []
    model = nn.Sequential(nn.Flatten())
    model.register_forward_hook(lambda *_: asked.append(1))
    source = compare_images.Remembered(model)
    first, again = ([source(images) for images, _ in samples.batches] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(asked) == samples.length == 2


def test_neurons_by_name():
    text = "if,8:8,mt:8,diff:mt:4,diff:2:2,burst"
    models = [
        Neuron(1, 0),
        Neuron(8, 8),
        MultiThreshold(8),
        Differential(MultiThreshold(4)),
        Differential(Neuron(2, 2)),
        KINDS["burst"],
    ]
    assert neuron_list(text) == models
    assert all(neuron_list(spelled(model)) == [model] for model in [*models, *KINDS.values()])
    assert spelled(Neuron(1, 1, leak=0.5)) == "Neuron(max_down=1, leak=0.5)"


@pytest.mark.parametrize("options", [["--neurons", "8:x"], ["--neurons", "diff:if"],
                                     ["--neurons", "mt:0"], ["--recipes", "magic"]])  # fmt: skip
def test_what_is_no_neuron_or_recipe(options, data, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(data, tmp_path, *options)
    assert "compare_methods: error: argument" in capsys.readouterr().err


def test_marks_keep_latency_classes_apart():
    def row(name, latency, drop, spikes):
        return {
            "status": "ok",
            "recipe": name,
            "latency": latency,
            "T": 4,
            "drop_points": drop,
            "agreement": 1.0,
            "spikes_per_neuron": spikes,
        }

    rows = [
        row("a", "streaming: one sweep", 2.0, 3.0),
        row("b", "streaming: one sweep", 2.9, 1.0),
        row("c", "streaming: one sweep", 3.1, 0.5),
        row("d", "two-phase", 0.0, 9.0),
    ]
    (kind, _, best, cheapest), (other, _, alone, _) = marked(rows)
    assert (kind, best["recipe"], cheapest["recipe"]) == ("streaming", "a", "b")
    assert (other, alone["recipe"]) == ("two-phase", "d")
    assert lost({"drop_points": None, "agreement": 0.75}) == 25.0
