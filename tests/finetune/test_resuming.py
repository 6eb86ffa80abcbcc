"""A folder of a training: what goes on, and what is refused."""

import random
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import spikeport as sp
from spikeport.convert import ConversionError
from spikeport.finetune.training.folder import TrainingFolder
from spikeport.finetune.training.losses import Distillation


class Shaken(Dataset):
    """Pairs whose images move a little each time, by torch's generator or by Python's."""

    def __init__(self, pairs, by, amount=0.1):
        self.pairs, self.by, self.amount = pairs, by, amount

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        image, label = self.pairs[index]
        moved = float(torch.rand(())) if self.by == "torch" else random.random()
        return image + self.amount * moved, label


@pytest.fixture
def pairs():
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(24, 8, generator=generator)
    return [(image, index % 3) for index, image in enumerate(images)]


@pytest.fixture
def teacher():
    return nn.Linear(8, 3).eval()


def tune(small, batches, output, teacher=None, epochs=2, **plan):
    plan = sp.FineTuning(recipe=None, **plan)
    return sp.finetune(small, batches, 2, epochs, teacher, plan=plan, output=output, progress=False)


def batches_of(pairs, size=8):
    return DataLoader(pairs, size, shuffle=True)


def test_the_same_arguments_go_on(small, pairs, teacher, tmp_path):
    first = tune(small, batches_of(pairs), tmp_path, teacher)
    again = tune(small, batches_of(pairs), tmp_path, teacher)
    assert all(torch.equal(a, b) for a, b in zip(*map(_values, (first, again)), strict=True))


def _values(network):
    return network.state_dict().values()


def other_images(pairs):
    return batches_of([(image + 1, label) for image, label in pairs])


def other_labels(pairs):
    return batches_of([(image, (label + 1) % 3) for image, label in pairs])


def fewer_images(pairs):
    return batches_of(pairs[:-1])


def smaller_batches(pairs):
    return batches_of(pairs, 6)


def augmentation(pairs):
    return batches_of(Shaken(pairs, "torch"))


def no_labels(pairs):
    return batches_of([image for image, _ in pairs])


def another_order(pairs):
    return batches_of(pairs[::-1])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_images, "another first batch of images"),
        (other_labels, "another first batch of labels"),
        (fewer_images, "another number of images: 24, not 23"),
        (smaller_batches, "another batch size: 8, not 6"),
        (augmentation, "another first batch of images"),
        (no_labels, "another first batch of labels"),
        (another_order, "another first batch of images"),
    ],
)
def test_other_data_are_refused(change, name, small, pairs, teacher, tmp_path):
    losses = [Distillation()]
    tune(small, batches_of(pairs), tmp_path, teacher, losses=losses)
    with pytest.raises(ConversionError, match=f"is a training with .*{name}.*Give the same arg"):
        tune(small, change(pairs), tmp_path, teacher, losses=losses)


def test_another_teacher_is_refused(small, pairs, teacher, tmp_path):
    tune(small, batches_of(pairs), tmp_path, teacher)
    with pytest.raises(ConversionError, match=r"another teacher \(its answers differ\)"):
        tune(small, batches_of(pairs), tmp_path, nn.Linear(8, 3).eval())


@pytest.mark.parametrize("options", [{"seed": 1}, {"epochs": 3}, {"norm": "batch"}])
def test_another_plan_is_refused(options, small, pairs, tmp_path):
    tune(small, batches_of(pairs), tmp_path)
    with pytest.raises(ConversionError, match="another plan: finetune\\(timesteps=2"):
        tune(small, batches_of(pairs), tmp_path, **options)


def test_another_network_is_refused(small, pairs, tmp_path):
    tune(small, batches_of(pairs), tmp_path)
    small.get_submodule("0").weight.data[0, 0] += 1
    with pytest.raises(ConversionError, match="another network"):
        tune(small, batches_of(pairs), tmp_path)


def test_random_data_of_another_generator_go_on(small, pairs, tmp_path):
    """Nothing tells them from others but their number."""
    shaken = Shaken(pairs, "python")
    tune(small, batches_of(shaken), tmp_path)
    tune(small, batches_of(shaken), tmp_path)
    with pytest.raises(ConversionError, match="another first batch of images"):
        tune(small, batches_of(pairs), tmp_path)


def test_a_loaders_own_generator_is_left_alone(small, pairs, tmp_path):
    """What a training draws does not depend on whether it has a folder."""
    found = []
    for output in (None, tmp_path):
        generator = torch.Generator().manual_seed(3)
        loader = DataLoader(pairs, 8, shuffle=True, generator=generator)
        found.append(tune(small, loader, output))
    assert all(torch.equal(a, b) for a, b in zip(*map(_values, found), strict=True))


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "text": lambda content: b"hello",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_named(damage, small, pairs, tmp_path):
    tune(small, batches_of(pairs), tmp_path)
    state = tmp_path / "state.pt"
    state.write_bytes(DAMAGES[damage](state.read_bytes()))
    with pytest.raises(ConversionError, match=r"state\.pt' is damaged .*delete the folder"):
        tune(small, batches_of(pairs), tmp_path)


@pytest.mark.parametrize("content", [{"a": 1}, [1], {"identity": {"model": "x"}, "training": {}}])
def test_the_state_of_something_else_is_named(content, small, pairs, tmp_path):
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(ConversionError, match="no state of this training"):
        tune(small, batches_of(pairs), tmp_path)


def test_a_full_disk_is_an_os_error_and_leaves_what_was_there(small, pairs, tmp_path, monkeypatch):
    tune(small, batches_of(pairs), tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(content, file):
        file.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    folder = TrainingFolder(tmp_path)
    with pytest.raises(OSError, match=r"state\.pt' cannot be written: .*file write failed"):
        folder.keep(SimpleNamespace(state=dict, rows=[{"epoch": 1}]), {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
