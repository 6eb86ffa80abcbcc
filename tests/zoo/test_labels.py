"""Names of classes."""

import timm
from torch import nn

from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.labels import class_names


def test_imagenet_names() -> None:
    names = class_names(1000)
    assert names is not None
    assert names[:2] == ["tench", "goldfish"]
    assert (names[134], names[517]) == ("crane (134)", "crane (517)")
    assert len(set(names)) == 1000


def test_names_of_models() -> None:
    assert class_names(timm.create_model("test_resnet")) == class_names(1000)
    assert class_names(load_model("torchvision/squeezenet1_1", "random")) == class_names(1000)
    assert class_names(timm.create_model("test_resnet", num_classes=10)) is None


def test_no_imagenet() -> None:
    assert class_names(10) is None
    assert class_names(nn.Linear(2, 1000)) is None
