"""Bumps and their widths."""

import pytest
import torch

from spikeport.convert import ConversionError
from spikeport.finetune.neuron.surrogates import SHAPES, Surrogate


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_a_bump_has_area_1_and_its_height_is_the_inverse_of_its_width(shape, width):
    x = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64)
    bump = Surrogate(shape, width).bump(x, width)
    assert float(bump.max()) == pytest.approx(1 / width)
    assert float(torch.trapezoid(bump, x)) == pytest.approx(1, abs=2e-3)


def test_the_width_evolves_geometrically():
    surrogate = Surrogate("sigmoid", 2.0, 0.5)
    assert [surrogate.width_at(p) for p in (0, 0.5, 1)] == pytest.approx([2, 1, 0.5])
    assert Surrogate(width=2.0).width_at(0.7) == 2.0


@pytest.mark.parametrize("wrong", [{"shape": "box"}, {"width": 0.0}, {"final_width": -1.0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ConversionError, match=f"Surrogate.{next(iter(wrong))} is .*expected"):
        Surrogate(**wrong)
