"""The choice of layers with many spikes that are quicker on torch's dense path.

The engine's time grows with the density of spikes, the dense path's does not. Where they cross
depends on the layer and on what a spike can be; it was measured (``python -m
spikeport.scripts.experiments.break_even``, one thread of a Xeon with AVX-512, layer shapes of VGG,
ResNet and EfficientNet) and is a constant here, not measured at run time, because the dense path
adds in another order: the same call has to give the same spikes every time.
"""

from typing import Any

from torch import nn

from spikeport.cpu.streams import Levels
from spikeport.cpu.synapses import WIDEST

# densities of spikes: one spike a timestep; up or down; several. The lower end of what was measured
# for each kind: on an error towards the dense path less is lost, its time being the same anywhere.
DENSE_ABOVE = {
    "linear": (0.50, 0.40, 0.45),  # 4096 to 4096, 8 images; smaller ones never
    "1x1, few inputs": (1.0, 1.0, 1.0),  # the neurons take most of the time
    "1x1": (0.65, 0.60, 0.60),  # 0.60 to 1
    "spatial": (0.55, 0.45, 0.40),  # 0.38 to 0.92, the higher the more channels
    "narrow groups": (0.25, 0.17, 0.20),  # zeros are added between the groups
    "depthwise": (1.0, 1.0, 1.0),  # takes as long at any density, and not longer than torch
}
FEW_INPUTS = 256  # channels


def dense_above(layer: Any, levels: Levels) -> float:
    """The density of spikes above which torch computes a layer.

    Args:
        layer: convolution or linear layer.
        levels: of the spikes that it receives.
    """
    column = 2 if levels.magnitudes > 1 else int(levels.has_sign)
    return DENSE_ABOVE[_kind(layer)][column]


def _kind(layer: Any) -> str:
    if isinstance(layer, nn.Linear):
        return "linear"
    if layer.groups == layer.in_channels == layer.out_channels:
        return "depthwise"
    if layer.groups > 1 and layer.out_channels // layer.groups < WIDEST:
        return "narrow groups"
    if max(layer.kernel_size) == 1:
        return "1x1, few inputs" if layer.in_channels < FEW_INPUTS else "1x1"
    return "spatial"
