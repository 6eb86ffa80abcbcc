"""Measurements of the coverage sweep on one model with random weights."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeport.convert import Neuron, SpikingNetwork, build
from spikeport.convert.graph.nodes import location
from spikeport.convert.graph.operations.table import call_of
from spikeport.convert.outputs import flat, tensors
from spikeport.report.operations.synapses import count_synapses
from spikeport.scripts.coverage.models import Entry, create
from spikeport.zoo.timm_layers import simplify

TIMESTEPS = (8, 32, 128)
NEURON = Neuron(64, 64)  # random weights amplify: fewer levels need a longer T in deep networks
IMAGES = 3
EQUAL = 1e-5  # relative, largest difference to largest magnitude


@torch.no_grad()
def convert(entry: Entry, known: dict[str, Any]) -> dict[str, Any]:
    """Convert a model and compare its analog reading with it, for one image and for three.

    Args:
        entry: the model.
        known: what its survey found.

    Returns:
        ``difference`` of the outputs, relative, in float32; ``exact_difference``, the same in
        float64 where the former is beyond EQUAL, for rounding adds up in deep networks; ``left``:
        rectifiers and layers that read analog values; ``neurons``: layers of neurons; ``macs`` of
        the source network per image; ``share`` of them that become accumulates.
    """
    model, x = prepared(entry, known)
    network = build(model, x, NEURON, simplify=simplify)
    synapses = count_synapses(network, tuple(x.shape[1:]))
    found: dict[str, Any] = {
        "difference": difference(model, network, x),
        "left": left(network),
        "neurons": len(network.neurons),
        "macs": synapses.source_macs,
        "share": synapses.spike_driven,
    }
    del network
    if found["difference"] > EQUAL:
        double = model.double()
        network = build(double, x.double(), NEURON, simplify=simplify)
        found["exact_difference"] = difference(double, network, x.double())
    return found


def left(network: SpikingNetwork) -> list[str]:
    """Rectifiers that are not neurons, and weighted layers that read analog values."""
    rectifiers = [
        f"{node.meta['op']} in {location(node)}"
        for node in network.graph.nodes
        if _is_rectifier(node, network) and not node.meta["spikes"]
    ]
    return rectifiers + network.analog_layers()


def _is_rectifier(node: fx.Node, network: SpikingNetwork) -> bool:
    """Whether it should have become a neuron, or have turned a neuron's spikes."""
    known = call_of(node, network)
    if known is None:
        return False
    row, call = known
    sloped = row.spikes.homogeneous and not row.spikes.selects
    return sloped or (row.activation is not None and row.activation(call) is not None)


@torch.no_grad()
def simulate(entry: Entry, known: dict[str, Any]) -> dict[str, Any]:
    """The distance of the decoded from the source model's output after each of TIMESTEPS.

    Returns:
        ``errors`` in units of the distance between two images' outputs, and ``spread``, that
        distance in units of the output's norm.
    """
    model, x = prepared(entry, known)
    network = calibrated(build(model, x, NEURON, simplify=simplify), x)
    network.backend = "torch"  # the definition
    x = x[:2]
    expected = flat(model(x))
    spread = (expected[0] - expected[1]).norm()
    errors = [
        float((flat(output) - expected).norm() / 2**0.5 / spread)
        for _, output in network.readouts(x, TIMESTEPS)
    ]
    return {"errors": errors, "spread": float(spread / expected.norm())}


def prepared(entry: Entry, known: dict[str, Any]) -> tuple[nn.Module, Tensor]:
    """A model with settled random weights, and three images, [3, C, S, S]."""
    torch.manual_seed(0)
    model = create(entry, known["img_size"])
    channels, pixels = known["channels"], known["pixels"]
    coarse = torch.randn(2 * IMAGES, channels, 8, 8)  # in white noise all images are alike
    x = F.interpolate(coarse, size=(pixels, pixels))
    return settle(model, x), x[:IMAGES]


@torch.no_grad()
def settle(model: nn.Module, x: Tensor) -> nn.Module:
    """Weights and batch-norm statistics that hide nothing, as after training.

    Parameters that are all alike are drawn at random: a gamma of 0 would hide its branch, and
    a bias of 0 a mistake with biases. Batch norms get the statistics of ``x``; with fresh ones deep
    networks have constant outputs.
    """
    for parameter in model.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            value = float(parameter.flatten()[0])
            if abs(value) > 0.1:
                parameter.uniform_(0.6, 1.4).mul_(value)
            else:
                parameter.normal_(0, 0.2 if parameter.ndim < 3 else 0.02)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().momentum = 1.0
    if norms:
        model(x)
    return model.eval()


@torch.no_grad()
def calibrated(network: SpikingNetwork, x: Tensor) -> SpikingNetwork:
    """Thresholds that reach the largest value each neuron has on ``x``."""
    largest: dict[str, float] = {}
    network.analog(x, lambda name, current: largest.update({name: float(current.abs().max())}))
    for name, neuron in network.neurons.items():
        top = min(max(largest[name], 1e-6), max(-neuron.low, neuron.high))
        neuron.threshold.fill_(top / neuron.max_up)
        neuron.v0.copy_(neuron.threshold / 2)
    return network


def difference(model: nn.Module, network: SpikingNetwork, x: Tensor) -> float:
    """Largest difference of any output relative to its largest magnitude, at two batch sizes."""
    worst = 0.0
    for batch in (x[:1], x):
        for a, b in zip(tensors(model(batch)), tensors(network.analog(batch)), strict=True):
            worst = max(worst, float((a - b).abs().max() / a.abs().max()))
    return worst
