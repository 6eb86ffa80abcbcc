"""The world outside: model hubs, checkpoints, images, labels.

The only folder that knows timm, torchvision and data sets. Everything here ends in a plain
`nn.Module`, a `Dataset` of (tensor, label) pairs or a list of names.
"""

from spikeport.zoo.checkpoints import LITE0_PACKAGE, RANDOM, load_model
from spikeport.zoo.images import image_folder, input_config, make_transform, split
from spikeport.zoo.labels import class_names

__all__ = [
    "LITE0_PACKAGE",
    "RANDOM",
    "class_names",
    "image_folder",
    "input_config",
    "load_model",
    "make_transform",
    "split",
]
