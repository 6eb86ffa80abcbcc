"""The interfaces of a pass and of a recipe."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from spikeport.calibration.layerwise import LayerwisePass, run_layerwise
from spikeport.convert import SpikingNetwork
from spikeport.convert.neurons import NeuronModel


class Pass(Protocol):
    """Changes thresholds, potentials, biases or weights; never the graph. Safe to rerun."""

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Apply the pass in place."""


@dataclass(frozen=True)
class Recipe:
    """A named list of passes.

    All recipes are streaming: a neuron decides on a timestep's spikes from the input up to it, and
    one sweep of T timesteps through the network is all the latency there is. Two-phase methods,
    whose layers read all T timesteps before they emit, are another class and not among them.

    Attributes:
        source: what it follows.
        passes: the list for a network and a target number of timesteps (0: left open).
        neuron: the kind of neuron that the paper uses; None where any will do.
        for_one_T: whether it adjusts for one T and cannot do without ``timesteps``.
        latency: the class of latency, always "streaming".
    """

    source: str
    passes: Callable[[SpikingNetwork, int], list[Pass]]
    neuron: NeuronModel | None = None
    for_one_T: bool = False
    latency: str = "streaming"


def run_passes(
    network: SpikingNetwork, batches: Iterable[Any], passes: Iterable[Pass], progress: bool = True
) -> None:
    """Apply passes in order; neighbouring layerwise ones for the same T share a forward."""
    for together, group in groupby(passes, _forward_of):
        if together is None:
            for one in group:
                one(network, batches, progress=progress)
        else:
            layerwise = [one for one in group if isinstance(one, LayerwisePass)]
            run_layerwise(network, batches, layerwise, progress)
    for neuron in network.neurons.values():  # levels of a quantised activation are known
        neuron.fit_steps()


def _forward_of(one: Pass) -> int | None:
    """Passes with the same number may share a forward; None stands for a pass of its own."""
    return one.timesteps if isinstance(one, LayerwisePass) else None
