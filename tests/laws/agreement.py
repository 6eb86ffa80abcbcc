"""When two results are the same: exactly, up to rounding, or up to spikes that rounding moves."""

import copy
import math
from typing import Any

import torch
from recorded import recorded
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input
from spikeport.convert.output_types import plain
from spikeport.convert.simulation.run import Run

FEW = 0.01  # share of a layer's neurons whose spikes rounding may move in more than one way
ROUNDING = 1e-5  # what sums in another order may differ by, in thresholds


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a structure."""
    return [leaf for leaf in pytree.tree_leaves(plain(value)) if isinstance(leaf, Tensor)]


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
def emitted(network: SpikingNetwork, x: Input, timesteps: int, chunk: int | None = None) -> Any:
    """What every layer emits by name, [T, B, ...], and the outputs at all timesteps."""
    parts: dict[str, list[Tensor]] = {}

    def observe(name: str, values: Tensor, first: int) -> None:
        parts.setdefault(name, []).append(values.clone())

    outputs = [tensors(o) for o in network.chunks(x, timesteps, chunk, observe)]
    joined = [torch.cat(part) for part in zip(*outputs, strict=True)]
    return {name: torch.cat(values) for name, values in parts.items()}, joined


@torch.no_grad()
def every_value(network: SpikingNetwork, x: Input, timesteps: int) -> list[Tensor]:
    """Of all nodes, at all timesteps, on torch."""
    run, outputs = recorded(network, x, timesteps)
    return [*tensors([list(run.static.values()), list(run.found.values())]), *tensors(outputs)]


@torch.no_grad()
def require_same_spikes(
    network: SpikingNetwork,
    x: Input,
    timesteps: int,
    found: Any,
    what: str,
    strict: bool = False,
    known: Any = None,
) -> None:
    """Raise AssertionError unless what another way of running emitted is torch's, layer by layer.

    Where something differs, every layer is given the other's spikes. Each of its neurons must then
    emit what the other emitted, with its potential as it is or off by the rounding of a sum; a few
    may be off in both directions, one after the other.

    Args:
        network: with ``backend="torch"``.
        x: the input.
        timesteps: T.
        found: see ``emitted``.
        what: is compared, for the message.
        strict: nothing is rounded, so that no spike may differ.
        known: what torch emits, where that is known.
    """
    spikes, outputs = found
    expected, reference = known or emitted(network, x, timesteps, chunk=timesteps)
    if spikes.keys() != expected.keys():
        raise AssertionError(f"{what}: layers {sorted(spikes.keys() ^ expected.keys())} only once")
    same = all(distance(expected[name], spikes[name]) < 1e-4 for name in expected)
    if same and distance(reference, outputs) < 1e-3:
        return
    if strict:
        layers = [name for name in expected if distance(expected[name], spikes[name]) >= 1e-4]
        raise AssertionError(f"{what}: nothing is rounded, and these layers differ: {layers}")
    runs = _rounded_runs(network, x)
    values: list[dict[fx.Node, Any]] = [{} for _ in runs]
    for same_node in zip(*(run.nodes for run in runs), strict=True):
        ways = []
        for run, node, held in zip(runs, same_node, values, strict=True):
            role = node.meta["role"]
            if role == "shape":
                held[node] = run._folded_shape(node, held, timesteps)
            elif role in ("neuron", "weighted", "linear", "difference"):
                held[node] = run._in_time(node, held, timesteps)
                ways.append(held[node])
        name = same_node[0].meta["name"]
        if ways and name in spikes:
            _require_few(ways, spikes[name], f"{what}: layer '{name}' on equal inputs")
            for node, held in zip(same_node, values, strict=True):
                held[node] = spikes[name].flatten(0, 1)
    returned = runs[0]._returned(values[0], timesteps)
    require_close(tensors(returned), outputs, 1e-3, f"{what}: the output")


def _rounded_runs(network: SpikingNetwork, x: Input) -> list[Run]:
    """Runs as it is, and with all initial potentials a little lower and higher."""
    networks = [network, copy.deepcopy(network), copy.deepcopy(network)]
    for sign, other in zip((-1, 1), networks[1:], strict=True):
        for neuron in other.neurons.values():
            neuron.v0 += sign * ROUNDING * neuron.threshold
    return [Run(each, x, None) for each in networks]


def _require_few(ways: list[Tensor], given: Tensor, what: str) -> None:
    """Raise AssertionError unless nearly all neurons fire as in one of several ways, [T·B, ...]."""
    explained = torch.zeros_like(given[0], dtype=torch.bool)
    scale = float(ways[0].abs().max().clamp_min(1e-6))
    for way in ways:
        if way.shape != given.flatten(0, 1).shape:
            raise AssertionError(f"{what}: {list(given.shape)}, not {list(way.shape)}")
        explained |= ((way.view_as(given) - given).abs() <= 1e-3 * scale).all(0)
    wrong = int((~explained).sum())
    if wrong > 2 + FEW * explained.numel():
        raise AssertionError(f"{what}: {wrong} of {explained.numel()} neurons differ")
