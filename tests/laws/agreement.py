"""When two results are the same: exactly, up to rounding, or up to spikes that rounding moves."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.simulation.run import Run

FEW = 0.01  # share of a layer's spikes that rounding may move, beside a single one


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a structure."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def distance(a: Any, b: Any) -> float:
    """Largest difference of two structures, relative to each tensor's largest magnitude."""
    pairs = list(zip(tensors(a), tensors(b), strict=True))
    worst = 0.0
    for x, y in pairs:
        if x.shape != y.shape:
            raise AssertionError(f"shapes {list(x.shape)} and {list(y.shape)}")
        x, y = x.double(), y.double()
        error = float((x - y).abs().max() / x.abs().max().clamp_min(1e-6)) if x.numel() else 0.0
        worst = math.inf if math.isnan(error) else max(worst, error)
    return worst


def require_close(a: Any, b: Any, tolerance: float, what: str) -> None:
    """Raise AssertionError unless two structures are equal up to a tolerance."""
    error = distance(a, b)
    if not error <= tolerance:
        raise AssertionError(f"{what}: off by {error:.2g} of the largest value")


def require_same_bits(a: Any, b: Any, what: str) -> None:
    """Raise AssertionError unless two structures hold the same numbers."""
    pairs = zip(tensors(a), tensors(b), strict=True)
    if not all(x.shape == y.shape and torch.equal(x, y) for x, y in pairs):
        raise AssertionError(f"{what}: other bits, by {distance(a, b):.2g}")


@torch.no_grad()
def dyadic(network: SpikingNetwork) -> SpikingNetwork:
    """A copy with weights of few binary digits and thresholds that are powers of two.

    Its sums are then exact, so that the order of summation changes nothing.
    """
    found = copy.deepcopy(network)
    for name, neuron in found.neurons.items():
        theta = 2.0 ** neuron.threshold.log2().round().clamp(-20, 20)
        neuron.threshold.copy_(theta)
        neuron.v0.copy_(theta / 2)
        found.neuron(name).correction.data = neuron.correction[:0]
    of_neurons = {id(p) for neuron in found.neurons.values() for p in neuron.parameters()}
    for parameter in found.parameters():
        if id(parameter) not in of_neurons and parameter.is_floating_point():
            parameter.copy_((parameter * 32).round() / 32)
    return found


@torch.no_grad()
def emitted(network: SpikingNetwork, x: Tensor, timesteps: int, chunk: int | None = None) -> Any:
    """What every layer emits by name, [T, B, ...], and the outputs at all timesteps."""
    parts: dict[str, list[Tensor]] = {}

    def observe(name: str, values: Tensor, first: int) -> None:
        parts.setdefault(name, []).append(values.clone())

    outputs = [tensors(o) for o in network.chunks(x, timesteps, chunk, observe)]
    joined = [torch.cat(part) for part in zip(*outputs, strict=True)]
    return {name: torch.cat(values) for name, values in parts.items()}, joined


class _Recorded(Run):
    """Keeps the values of all nodes."""

    def __init__(self, network: SpikingNetwork, x: Tensor) -> None:
        super().__init__(network, x, None)
        self.found = tensors(list(self.static.values()))

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        out = super()._in_time(node, values, steps)
        self.found += tensors(out)
        return out


@torch.no_grad()
def every_value(network: SpikingNetwork, x: Tensor, timesteps: int) -> list[Tensor]:
    """Of all nodes, at all timesteps, on torch."""
    run = _Recorded(network, x)
    run.wanted = timesteps
    return [*run.found, *tensors(run.advance(timesteps)), *run.found]


@torch.no_grad()
def require_same_spikes(
    network: SpikingNetwork, x: Tensor, timesteps: int, found: Any, what: str, strict: bool = False
) -> None:
    """Raise AssertionError unless what another way of running emitted is torch's, layer by layer.

    Where something differs, every layer is given the other's spikes and must emit what the other
    emitted, but for a few that rounding explains.

    Args:
        network: with ``backend="torch"``.
        x: the input.
        timesteps: T.
        found: see ``emitted``.
        what: is compared, for the message.
        strict: nothing is rounded, so that no spike may differ.
    """
    spikes, outputs = found
    expected, reference = emitted(network, x, timesteps, chunk=timesteps)
    if spikes.keys() != expected.keys():
        raise AssertionError(f"{what}: layers {sorted(spikes.keys() ^ expected.keys())} only once")
    same = all(distance(expected[name], spikes[name]) < 1e-4 for name in expected)
    if same and distance(reference, outputs) < 1e-3:
        return
    if strict:
        layers = [name for name in expected if distance(expected[name], spikes[name]) >= 1e-4]
        raise AssertionError(f"{what}: nothing is rounded, and these layers differ: {layers}")
    run, values = Run(network, x, None), dict[fx.Node, Any]()
    for node in run.nodes:
        if node.meta["role"] == "shape":
            values[node] = run._folded_shape(node, values, timesteps)
        elif node.meta["role"] in ("neuron", "weighted", "linear", "difference"):
            values[node] = run._in_time(node, values, timesteps)
            name = node.meta["name"]
            if name in spikes:
                given = spikes[name].flatten(0, 1)
                _require_few(values[node], given, f"{what}: layer '{name}' on equal inputs")
                values[node] = given
    require_close(tensors(run._returned(values, timesteps)), outputs, 1e-3, f"{what}: the output")


def _require_few(expected: Tensor, given: Tensor, what: str) -> None:
    if expected.shape != given.shape:
        raise AssertionError(f"{what}: {list(given.shape)}, not {list(expected.shape)}")
    scale = float(expected.abs().max().clamp_min(1e-6))
    wrong = int(((expected - given).abs() > 1e-3 * scale).sum())
    if wrong > 2 + FEW * expected.numel():
        raise AssertionError(f"{what}: {wrong} of {expected.numel()} values differ")
