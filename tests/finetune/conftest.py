"""Digits of scikit-learn and a small network trained on them; one thread, for small networks."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import spikeport as sp
from spikeport.calibration import InitialPotential, MaxThreshold, calibrate
from spikeport.convert import KINDS, SpikingNetwork, build
from spikeport.convert.neurons import NeuronModel

Batches = list[tuple[Tensor, Tensor]]


class Digits(NamedTuple):
    """A trained network and batches of (images [64, 1, 8, 8], labels [64])."""

    ann: nn.Module
    train: Batches
    test: Batches


def split(images: Tensor, labels: Tensor, size: int) -> Batches:
    return list(zip(images.split(size), labels.split(size), strict=True))


@pytest.fixture(scope="session")
def digits() -> Digits:
    data = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data.target), generator=generator)
    images = torch.tensor(data.images, dtype=torch.float32)[order, None] / 16
    labels = torch.tensor(data.target)[order]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
        ann = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(ann.parameters(), 2e-3)
        for _ in range(15):
            for part in torch.randperm(1297).split(64):
                optimizer.zero_grad()
                F.cross_entropy(ann(images[part]), labels[part]).backward()
                optimizer.step()
    train = split(images[:1297], labels[:1297], 64)
    return Digits(ann.eval(), train, split(images[1297:], labels[1297:], 500))


def converted(model: nn.Module, images: Tensor, neuron: str | NeuronModel) -> SpikingNetwork:
    """With thresholds at the maximum and v0 at half of them."""
    kind = KINDS[neuron] if isinstance(neuron, str) else neuron
    network = build(model.eval(), images, kind)
    calibrate(network, [images], [MaxThreshold(), InitialPotential()], progress=False)
    return network


@pytest.fixture(scope="session", name="converted")
def converted_fixture():
    return converted


@pytest.fixture(scope="session")
def snn(digits):
    return sp.to_snn(digits.ann, digits.train, "if", "default", 2, progress=False)


def quick(snn, digits, timesteps=2, epochs=1, teacher=None, validation=None, output=None, **plan):
    return sp.finetune(
        snn,
        digits.train[:4],
        timesteps,
        epochs,
        teacher,
        plan=sp.FineTuning(**plan),
        validation=validation,
        output=output,
        progress=False,
    )


@pytest.fixture
def small(images):
    """Two hidden layers, 8 inputs, 3 outputs; of "if" neurons."""
    layers = [nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)]
    return converted(nn.Sequential(*layers), images, "if")


@pytest.fixture
def images() -> Tensor:
    """[4, 8]."""
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)
    yield
    torch.set_num_threads(threads)
