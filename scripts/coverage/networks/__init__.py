"""Networks that are in no registry, by kind: what people build who are no image classifiers.

Each file has ``NETWORKS``: name to a function that makes the network, with random weights, and a
batch for it. A new kind is one more file and one more entry here.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from spikeport.scripts.coverage.networks import (
    audio,
    detection,
    graphs,
    quantized,
    recurrent,
    segmentation,
    video,
)

Make = Callable[[], tuple[nn.Module, Any]]
KINDS: dict[str, dict[str, Make]] = {
    "detection": detection.NETWORKS,
    "segmentation": segmentation.NETWORKS,
    "video": video.NETWORKS,
    "audio": audio.NETWORKS,
    "recurrent": recurrent.NETWORKS,
    "graphs and points": graphs.NETWORKS,
    "quantized": quantized.NETWORKS,
}
