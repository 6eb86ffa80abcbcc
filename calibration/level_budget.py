"""Levels per timestep of each layer, where the spikes of all are limited."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeport.calibration.substitute import activations
from spikeport.calibration.threshold import check_timesteps, fit_threshold
from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.inputs import Input, joined
from spikeport.convert.neurons import NeuronModel

FRONTIER = 2000  # combinations kept after each layer


@dataclass(frozen=True)
class LevelBudget:
    """Chooses each layer's max_up (and max_down, where it is signed) under a budget of spikes.

    For powers of two (``MultiThreshold``) it chooses the exponents; with differential coding, the
    coder's levels. An event of k thresholds counts as k spikes, as in a sweep.

    Wang et al. 2025, "Adaptive Calibration: A Unified Conversion Framework of Spiking Neural
    Networks" (adaptive-firing neurons): the sensitivity S_l(k) is the symmetric Kullback-Leibler
    divergence between the softmax outputs of the source and of the network in which only layer l
    spikes, with k levels, its energy E_l(k) the spikes of layer l. Among all combinations with
    ``Σ E_l <= budget`` the one of least ``Σ S_l`` is taken, from the Pareto frontier that grows
    layer by layer. Ranges stay as they are: k levels make θ = range / k, and v0 keeps its
    fraction of θ. Layerwise passes come after it.

    Only the first ``images`` images are used, because each layer and each number of levels costs
    an analog inference of them: 50 layers, 4 numbers and 16 images cost 3,200 inferences.

    Attributes:
        timesteps: T, >= 1.
        budget: spikes per neuron, counted over all T timesteps, > 0.
        levels: numbers of spikes per timestep to choose from, ascending.
        images: to measure on, >= 1.
    """

    timesteps: int = 0
    budget: float = 1.0
    levels: tuple[int, ...] = (1, 2, 4, 8)
    images: int = 16

    def __post_init__(self) -> None:
        check_timesteps("LevelBudget", self.timesteps)
        if not self.budget > 0:
            raise ConversionError(
                f"LevelBudget.budget is {self.budget!r}; expected spikes per neuron > 0"
            )
        ascending = list(self.levels) == sorted(set(self.levels))
        if not self.levels or not ascending or self.levels[0] < 1:
            raise ConversionError(
                f"LevelBudget.levels is {self.levels!r}; expected ascending ints >= 1"
            )
        if self.images < 1:
            raise ConversionError(f"LevelBudget.images is {self.images!r}; expected an int >= 1")

    @torch.no_grad()
    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set every neuron's levels, and thresholds and v0 to match.

        Raises:
            ConversionError: unusable data; neurons without thresholds or with levels that cannot be
                chosen; outputs that are not class scores; a budget too small.
        """
        neurons = network.neurons
        for name, neuron in neurons.items():
            for levels in self.levels:
                _require_levels(name, neuron.model, levels)
        network.check_calibrated()
        images = _first_images(network, batches, self.images)
        wanted = _log_softmax(network.analog(images))
        costs: dict[str, list[tuple[float, float]]] = {}
        everything = 0
        for name, neuron in stream(list(neurons.items()), "choosing levels", progress):
            found = [self._measure(network, name, neuron, k, images, wanted) for k in self.levels]
            everything += found[0][2]
            costs[name] = [(spikes, divergence) for spikes, divergence, _ in found]
        chosen = best_choice(list(costs.values()), self.budget * everything)
        if chosen is None:
            least = sum(min(spikes for spikes, _ in rows) for rows in costs.values()) / everything
            raise ConversionError(
                f"LevelBudget.budget is {self.budget:g} spikes per neuron, but the fewest levels "
                f"need {least:.3g}; raise the budget, offer fewer levels, or lower timesteps"
            )
        for neuron, choice in zip(neurons.values(), chosen, strict=True):
            set_levels(neuron, self.levels[choice])

    def _measure(
        self,
        network: SpikingNetwork,
        name: str,
        neuron: NeuronLayer,
        levels: int,
        images: Input,
        wanted: Tensor,
    ) -> tuple[float, float, int]:
        """Spikes of a layer, divergence it causes, and its number of neurons times images."""
        spikes, size = 0.0, 0
        model, tensors = neuron.model, [own.detach() for own in neuron.parameters()]
        set_levels(neuron, levels)

        def spiking(current: Tensor) -> Tensor:
            nonlocal spikes, size
            emitted, _ = neuron(current.expand(self.timesteps, *current.shape))
            theta = neuron.per_channel(neuron.threshold, current)
            events = neuron.events(emitted, None)
            spikes, size = float((events / theta).abs().double().sum()), current.numel()
            return emitted.mean(0)

        try:
            with activations(network, {name: spiking}):
                found = _log_softmax(network.analog(images))
        finally:
            neuron.model = model
            for own, value in zip(neuron.parameters(), tensors, strict=True):
                own.data = value
        divergence = ((wanted.exp() - found.exp()) * (wanted - found)).sum(-1).mean()
        return spikes, float(divergence), size


def set_levels(neuron: NeuronLayer, levels: int) -> None:
    """Give a layer another number of spikes per timestep; its range and v0 / θ stay."""
    old, theta = neuron.model.max_up, neuron.threshold.detach()
    start = neuron.v0 / theta
    neuron.model = neuron.model.with_levels(levels)
    fit_threshold(neuron, theta * (old / levels))
    neuron.v0.data = start * neuron.threshold


def best_choice(layers: list[list[tuple[float, float]]], budget: float) -> list[int] | None:
    """The option of each layer with the least total loss within a budget; None if none fits.

    Args:
        layers: options of each layer as (cost, loss).
        budget: of the total cost.
    """
    frontier: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
    for options in layers:
        grown = sorted(
            (spent + cost, lost + loss, (*chosen, index))
            for spent, lost, chosen in frontier
            for index, (cost, loss) in enumerate(options)
            if spent + cost <= budget
        )
        frontier = []
        for entry in grown:  # by cost: keep what loses less than everything cheaper
            if not frontier or entry[1] < frontier[-1][1]:
                frontier.append(entry)
        if len(frontier) > FRONTIER:  # thinned evenly; the cheapest and the best stay
            places = torch.linspace(0, len(frontier) - 1, FRONTIER).round().long().tolist()
            frontier = [frontier[place] for place in places]
    return list(frontier[-1][2]) if frontier else None


def _first_images(network: SpikingNetwork, batches: Iterable[Any], wanted: int) -> Input:
    found: list[Input] = []
    for batch in stream(batches, "", progress=False):
        found.append(network.take_apart(batch).x)
        if sum(map(len, found)) >= wanted:
            break
    return joined(found)[:wanted]


def _require_levels(name: str, model: NeuronModel, levels: int) -> None:
    try:
        model.with_levels(levels)
    except ConversionError as cause:
        raise ConversionError(
            f"LevelBudget.levels has {levels}, but layer '{name}' has {cause}"
        ) from cause


def _log_softmax(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ConversionError(
            f"the network returns {shape}; LevelBudget compares class scores [B, classes]. Choose "
            "levels by hand with a Neuron(max_up, max_down) instead"
        )
    return output.double().log_softmax(-1)
