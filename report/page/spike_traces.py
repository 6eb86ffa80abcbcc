"""Spikes and membrane potentials of a few neurons while one image is shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeport.convert import NeuronLayer, SpikingNetwork
from spikeport.convert.inputs import Input
from spikeport.convert.neurons.model import State

NEURONS = 8  # per layer


@dataclass(frozen=True)
class Trace:
    """A few neurons of one layer over the timesteps.

    Attributes:
        layer: its name.
        positions: of each neuron in the layer's output, (channel, ...), busiest first.
        spikes: [n, T], events in thresholds, negative ones taken back.
        before: [T], membrane potential of the neuron ``traced`` when it decides whether to fire, in
            thresholds; with a hard reset like ``after``.
        after: [T], the same once what it emitted has been subtracted.
        traced: index into ``positions``.
        active: share of the layer's neurons that fire at all, in [0, 1].
    """

    layer: str
    positions: list[tuple[int, ...]]
    spikes: Tensor
    before: Tensor
    after: Tensor
    traced: int
    active: float


@torch.no_grad()
def record(
    network: SpikingNetwork, image: Input, layers: Sequence[str], timesteps: int
) -> list[Trace]:
    """Simulate one image, timestep by timestep, and note what some neurons do.

    The neurons are spread evenly over those that fire, from the busiest to the laziest.

    Args:
        network: calibrated.
        image: [1, C, ...].
        layers: names of neuron layers.
        timesteps: T >= 1.
    """
    totals: dict[str, Tensor] = {}

    def count(name: str, step: _Step) -> None:
        seen = step.spikes.abs()
        totals[name] = totals[name] + seen if name in totals else seen

    _watch(network, image, layers, timesteps, count)
    chosen = {name: _spread(total) for name, total in totals.items()}
    noted: dict[str, list[_Step]] = {name: [] for name in layers}

    def note(name: str, step: _Step) -> None:
        noted[name].append(_Step(*(part.flatten()[chosen[name]] for part in step)))

    _watch(network, image, layers, timesteps, note)
    return [_trace(name, totals[name], chosen[name], noted[name]) for name in layers]


class _Step(NamedTuple):
    """One timestep of a layer, each [C, ...], in thresholds."""

    spikes: Tensor
    before: Tensor
    after: Tensor


def _watch(
    network: SpikingNetwork,
    image: Input,
    layers: Sequence[str],
    timesteps: int,
    see: Callable[[str, _Step], None],
) -> None:
    def hook(name: str) -> Callable[..., None]:
        def seen(neuron: NeuronLayer, args: Any, result: tuple[Tensor, State]) -> None:
            current, before = args
            emitted, state = result
            theta = neuron.per_channel(neuron.threshold, current[0])
            value = neuron.per_channel(neuron.value, current[0])
            events = (neuron.events(emitted, before)[0, 0] / value[0]).round()
            after = state.v[0] / theta[0]
            # a hard reset does not leave a trace of what was there
            hard = getattr(neuron.model, "hard_reset", False)
            see(name, _Step(events, after if hard else after + events, after))

        return seen

    handles = [network.neuron(name).register_forward_hook(hook(name)) for name in layers]
    backend, network.backend = network.backend, "torch"  # the one that calls hooks
    try:
        for _ in network.chunks(image, timesteps, chunk=1):
            pass
    finally:
        network.backend = backend
        for handle in handles:
            handle.remove()


def _spread(total: Tensor) -> Tensor:
    """Flat indices of NEURONS neurons, evenly from the most to the fewest spikes."""
    order = total.flatten().argsort(descending=True, stable=True)
    firing = int((total > 0).sum()) or len(order)
    picks = torch.linspace(0, firing - 1, min(NEURONS, firing)).round().long()
    return order[picks.to(order.device)]


def _trace(name: str, total: Tensor, chosen: Tensor, steps: list[_Step]) -> Trace:
    spikes, before, after = (torch.stack(part, 1).cpu() for part in zip(*steps, strict=True))
    places = torch.stack(torch.unravel_index(chosen.cpu(), total.shape), 1).tolist()
    traced = len(chosen) // 3
    return Trace(
        name,
        [tuple(place) for place in places],
        spikes,
        before[traced],
        after[traced],
        traced,
        float((total > 0).double().mean()),
    )
