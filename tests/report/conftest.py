"""A small classifier with two convolutions, and labelled images for it."""

import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()


@pytest.fixture(scope="module")
def small_data():
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(24, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 5, (24,), generator=generator)
    return [(images[i : i + 8], labels[i : i + 8]) for i in range(0, 24, 8)]
