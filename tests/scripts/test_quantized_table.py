"""The table of a quantised ResNet: trained, resumed, converted exactly."""

import pytest
import torch
from PIL import Image

from spikeport.scripts.experiments import quantized_table
from spikeport.zoo.cifar import CLASSES


@pytest.fixture
def data(tmp_path):
    torch.manual_seed(0)
    for split, count in (("train", 13), ("test", 2)):
        for label, name in enumerate(CLASSES):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = (torch.rand(32, 32, 3) * 90 + label * 15).byte().numpy()
                Image.fromarray(pixels).save(tmp_path / split / name / f"{index}.png")
    return tmp_path


def test_one_timestep_of_as_many_spikes_as_levels_answers_as_the_source(data, tmp_path, capsys):
    options = ["--data", str(data), "-o", str(tmp_path / "out"), "--levels", "4", "--epochs", "1"]
    options += ["--images", "20", "-T", "1,2", "--neurons", "4:4"]
    quantized_table.main(options)
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("source network, 4 levels, 1 epochs: top-1 ")
    assert first[-1].startswith("| multi-level (−4…4) | ")
    assert first[-1].split(" | ")[1].endswith("(1.000)")
    quantized_table.main(options)  # goes on with what is trained
    assert capsys.readouterr().out.splitlines() == first
