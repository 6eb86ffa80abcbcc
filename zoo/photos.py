"""Real photographs that pip has already installed, for a demonstration without a download.

scikit-image and scikit-learn ship a few pictures inside their wheels. They are opened as files, not
through `skimage.data`, which would try to download a picture that is missing.
"""

import random
from importlib.resources import files

from PIL import Image

# What tf_efficientnet_lite0 sees in each is in the comment; the evaluation photos are those in
# which it sees what is there.
_FILES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "camera": ("skimage", "data/camera.png"),  # tripod
    "cat": ("skimage", "data/chelsea.png"),  # tiger cat
    "coffee": ("skimage", "data/coffee.png"),  # espresso
    "coins": ("skimage", "data/coins.png"),
    "grass": ("skimage", "data/grass.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),  # moped
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),  # missile
    "stars": ("skimage", "data/hubble_deep_field.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),  # palace
    "flower": ("sklearn", "datasets/images/flower.jpg"),  # daisy
}
EVALUATION = ("camera", "cat", "coffee", "motorcycle", "rocket")
CROPS = 8  # per photograph


def photographs() -> dict[str, Image.Image]:
    """Opens the photographs that the installed scikit-image and scikit-learn bring along.

    Returns:
        Name to RGB image, between 371 x 300 and 1411 x 1411 pixels; grey ones are grey in RGB. A
        picture that a release no longer ships is left out.

    Raises:
        ImportError: one of the two packages is not installed.
    """
    found = {}
    for name, (package, path) in _FILES.items():
        try:
            file = files(package).joinpath(path)
        except ImportError as error:
            raise ImportError(
                f"the demonstration photographs come with scikit-image and scikit-learn, and "
                f"{package} is not installed: `pip install 'spikeport[demo]'`."
            ) from error
        if file.is_file():
            with file.open("rb") as stream, Image.open(stream) as image:
                found[name] = image.convert("RGB")
    return found


def crops(
    image: Image.Image, count: int, size_range: tuple[float, float] = (0.5, 1.0), seed: int = 0
) -> list[Image.Image]:
    """Cuts random squares out of an image; they may overlap.

    Args:
        image: the image.
        count: number of squares.
        size_range: smallest and largest side, as a part of the short edge, within (0, 1].
        seed: the same seed gives the same squares.

    Returns:
        Squares at the resolution of the image, not resized.

    Raises:
        ValueError: a size outside (0, 1], or smallest above largest.
    """
    low, high = size_range
    if not 0 < low <= high <= 1:
        raise ValueError(f"size_range={size_range}: expected 0 < smallest <= largest <= 1.")
    draw = random.Random(seed)
    squares = []
    for _ in range(count):
        side = max(1, round(draw.uniform(low, high) * min(image.size)))
        left, top = draw.randint(0, image.width - side), draw.randint(0, image.height - side)
        squares.append(image.crop((left, top, left + side, top + side)))
    return squares


def demo_split(seed: int = 0) -> tuple[list[Image.Image], dict[str, Image.Image]]:
    """Splits the photographs into some to calibrate on and others to evaluate on.

    No photograph serves for both, so the two sides share no pixel and no scene. Within a side the
    crops of one photograph overlap: the 40 evaluation images are 5 independent scenes. They show
    whether the spiking network still answers like its source; they measure no accuracy.

    Args:
        seed: where the crops are cut.

    Returns:
        Calibration images, `CROPS` per photograph; and evaluation images by name: "cat" is the
        whole photograph, "cat 1" to "cat 7" are crops of it.

    Raises:
        ImportError: scikit-image or scikit-learn is not installed.
    """
    calibration: list[Image.Image] = []
    evaluation: dict[str, Image.Image] = {}
    for name, image in photographs().items():
        if name in EVALUATION:
            evaluation[name] = image
            cut = crops(image, CROPS - 1, seed=seed)
            evaluation |= {f"{name} {i}": square for i, square in enumerate(cut, start=1)}
        else:
            calibration += [image, *crops(image, CROPS - 1, seed=seed)]
    return calibration, evaluation
