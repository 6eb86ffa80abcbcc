"""The photographs of the demonstration."""

import pytest
from PIL import Image

from spikeport.zoo import photos


def test_crops() -> None:
    image = Image.radial_gradient("L").convert("RGB").resize((200, 100))
    squares = photos.crops(image, 20, (0.5, 0.8), seed=3)
    assert all(s.width == s.height and 50 <= s.width <= 80 for s in squares)
    again = photos.crops(image, 20, (0.5, 0.8), seed=3)
    assert [s.tobytes() for s in squares] == [s.tobytes() for s in again]
    assert [s.tobytes() for s in squares] != [s.tobytes() for s in photos.crops(image, 20, seed=4)]


@pytest.mark.parametrize("size_range", [(0.0, 1.0), (0.8, 0.5), (0.5, 1.1)])
def test_crop_sizes_are_checked(size_range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 < smallest"):
        photos.crops(Image.new("RGB", (9, 9)), 1, size_range)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_FILES", {"x": ("spikeport_no_such_package", "x.png")})
    with pytest.raises(ImportError, match=r"pip install 'spikeport\[demo\]'"):
        photos.photographs()


def test_photographs_and_split() -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    found = photos.photographs()
    assert {"cat", "coffee", "rocket", "china", "flower"} <= set(found)
    assert all(image.mode == "RGB" and min(image.size) >= 300 for image in found.values())
    calibration, evaluation = photos.demo_split()
    assert len(evaluation) == len(photos.EVALUATION) * photos.CROPS
    assert {name.split()[0] for name in evaluation} == set(photos.EVALUATION)
    assert len(calibration) == (len(found) - len(photos.EVALUATION)) * photos.CROPS
    wholes = {image.tobytes() for image in calibration}
    assert not wholes & {image.tobytes() for image in evaluation.values()}
