"""Training on a few made-up images: going on where it stopped, what it writes, what it refuses."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from spikeport.scripts.cli import main as spikeport
from spikeport.scripts.experiments import cifar_training
from spikeport.scripts.experiments.cifar_training import PADDING, CifarTraining, augment
from spikeport.scripts.experiments.train_cifar import main
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.cifar_data import CLASSES

QUICK = ("--epochs", "3", "--batch-size", "16", "--learning-rate", "0.05")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes of different brightness, so that something can be learned."""
    root = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 5), ("test", 2)):
        for label, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                noise = torch.rand(32, 32, 3, generator=generator)
                pixels = (noise * 90 + label * 15).byte().numpy()
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


def train(data: Path, out: Path, *options: str) -> int:
    return main(["resnet20", "--data", str(data), "-o", str(out), *QUICK, *options])


def record(out: Path) -> dict:
    content = json.loads((out / "cifar10_resnet20.json").read_text())
    return {key: value for key, value in content.items() if key != "seconds"}


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    assert train(data, out) == 0
    return out


def test_stopped_and_resumed_equals_uninterrupted(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = CifarTraining.epoch

    def stopped(self: CifarTraining) -> dict[str, float]:
        if len(self.rows) == 2:
            torch.rand(3)  # whatever else draws numbers in between
            raise KeyboardInterrupt
        return epoch(self)

    with monkeypatch.context() as patch:
        patch.setattr(CifarTraining, "epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path)
    assert not (tmp_path / "cifar10_resnet20.safetensors").exists()
    assert train(data, tmp_path) == 0
    weights = "cifar10_resnet20.safetensors"
    assert (tmp_path / weights).read_bytes() == (trained / weights).read_bytes()
    assert record(tmp_path) == record(trained)


def test_what_it_writes(trained: Path) -> None:
    content = record(trained)
    assert content["epochs_trained"] == content["recipe"]["epochs"] == 3
    assert (content["train_images"], content["test_images"]) == (50, 20)
    with (trained / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["test_accuracy"]) == pytest.approx(content["test_accuracy_float32"])
    assert not list(trained.glob("*.part"))


def test_half_precision_only_where_it_costs_nothing(
    data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    state = (trained / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(state)
    answers = iter((80.0, 79.9))
    monkeypatch.setattr(CifarTraining, "evaluate", lambda self: next(answers))
    assert train(data, tmp_path) == 0
    assert record(tmp_path)["dtype"] == "float32"
    assert record(tmp_path)["test_accuracy"] == 80.0
    assert "going on after epoch 3" in capsys.readouterr().out


def test_result_goes_through_the_commands(trained: Path, data: Path, tmp_path: Path, capsys):
    weights, net = trained / "cifar10_resnet20.safetensors", tmp_path / "net.snn"
    images = ["--data", str(data / "train"), "--images", "8"]
    convert = ["convert", "cifar10/resnet20", "--checkpoint", str(weights), "-o", str(net)]
    assert spikeport([*convert, *images]) == 0
    sweep = ["sweep", str(net), "--data", str(data / "test"), "-T", "1,4", "--reference"]
    assert spikeport([*sweep, "--images", "4"]) == 0
    assert "agreement" in capsys.readouterr().out
    assert not load_model("cifar10/resnet20", weights).training


def test_refusals(trained: Path, data: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    assert train(data, trained, "--seed", "7") == 2
    assert "another seed: 0, not 7. Give the same arguments" in capsys.readouterr().err
    assert train(tmp_path, tmp_path / "out") == 2
    assert "no folder 'train'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["resnet21", "--data", str(data), "-o", str(tmp_path)])
    assert "'resnet21' is none of cifar10/resnet20" in capsys.readouterr().err
    monkeypatch.setattr(
        cifar_training.F, "cross_entropy", lambda scores, *_, **__: scores.sum() / 0
    )
    assert train(data, tmp_path / "out") == 2
    assert "in epoch 1; train with a learning rate below 0.05" in capsys.readouterr().err


def test_augmentation_shifts_and_flips_each_image_by_itself() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 3, 12, 12)
    padded = F.pad(images, (PADDING,) * 4)
    seen = set()
    for before, after in zip(padded, augment(images), strict=True):
        for flip in (False, True):
            windows = before.unfold(1, 12, 1).unfold(2, 12, 1)  # [3, 9, 9, 12, 12]
            wanted = after.flip(2) if flip else after
            hits = (windows == wanted[:, None, None]).all(-1).all(-1).all(0).nonzero()
            seen |= {(*hit, flip) for hit in hits.tolist()}
    assert len(seen) > 30
    assert {flip for *_, flip in seen} == {False, True}
    assert {top for top, *_ in seen} == set(range(2 * PADDING + 1))
