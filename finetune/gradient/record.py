"""Records that a run leaves for the losses."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikeport.convert.simulation.run import map_tensors
from spikeport.finetune.neuron.scan_step import Scanned
from spikeport.finetune.neuron.trainable import TrainableNeuron


class Record(NamedTuple):
    """Outputs of every timestep, and means over the timesteps of what the layers did.

    Only the spikes and what some loss asks for are there; other dicts are empty. Keys are names of
    neuron layers.

    Attributes:
        outputs: [T, B, ...], or a structure of such tensors: those of the readout's window.
        rates: emitted values, [B, ...], activation units: compared with the source's activations.
        spikes: spikes of either sign per timestep, of all neurons of the layer together, [B]; of a
            layer on the windows of an image [B·windows], and likewise those below.
        membranes: potential before firing over threshold, mean over the neurons, [B].
        gaps: squared distance of the potential from the spikes it gave, in thresholds, mean over
            the neurons, [B].
        neurons: number of them in each layer, for one row of what is [B, ...].

    A network that folds frames or tokens into the batch has as many rows more in those layers.
    """

    outputs: Any
    rates: dict[str, Tensor]
    spikes: dict[str, Tensor]
    membranes: dict[str, Tensor]
    gaps: dict[str, Tensor]
    neurons: dict[str, int]

    @property
    def noted(self) -> tuple[dict[str, Tensor], ...]:
        """The statistics, in the order of NOTED."""
        return self[1:-1]

    def tensors(self) -> list[Tensor]:
        """All tensors of the record, in one order."""
        noted = [value for part in self.noted for value in part.values()]
        return [*self.output_tensors(), *noted]

    def output_tensors(self) -> list[Tensor]:
        """The tensors of the outputs."""
        return [leaf for leaf in pytree.tree_leaves(self.outputs) if isinstance(leaf, Tensor)]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Record":
        """Another record, with every tensor changed."""
        parts = ({name: change(value) for name, value in part.items()} for part in self.noted)
        changed = dict(zip(NOTED, parts, strict=True))
        return Record(map_tensors(change, self.outputs), **changed, neurons=self.neurons)

    @property
    def answer(self) -> Any:
        """The decoded output, [B, ...], or a structure of them."""
        return map_tensors(lambda value: value.mean(0), self.outputs)

    @property
    def firing_rate(self) -> Tensor:
        """Spikes of either sign per neuron and timestep, over all layers, [B]."""
        rows = self.output_tensors()[0].shape[1]
        parts = {name: value.view(rows, -1) for name, value in self.spikes.items()}
        total = torch.stack([part.sum(1) for part in parts.values()]).sum(0)
        return total / sum(self.neurons[name] * part.shape[1] for name, part in parts.items())


NOTED = Record._fields[1:-1]


def joined(parts: Iterable[Record], start: int, timesteps: int) -> Record:
    """One record from those of chunks, whose statistics are sums over their timesteps.

    Args:
        parts: in the order of time; each is read once and let go.
        start: timesteps that the readout leaves out.
        timesteps: T.
    """
    outputs: list[Any] = []
    sums: list[dict[str, Tensor]] = [{} for _ in NOTED]
    neurons: dict[str, int] = {}
    for part in parts:
        outputs.append(part.outputs)
        neurons = part.neurons
        for total, found in zip(sums, part.noted, strict=True):
            for name, value in found.items():
                total[name] = total[name] + value if name in total else value
    means = ({name: value / timesteps for name, value in part.items()} for part in sums)
    noted = dict(zip(NOTED, means, strict=True))
    together = map_tensors(lambda *times: torch.cat(times)[start:], *outputs)
    return Record(together, **noted, neurons=neurons)


def statistics(neuron: TrainableNeuron, found: Scanned, wants: frozenset[str]) -> dict[str, Tensor]:
    """Statistics of a layer of neurons, sums over the timesteps of a chunk; see ``Record``.

    Args:
        neuron: the layer.
        found: what it gave.
        wants: names in NOTED; spikes are noted anyway, for the log.
    """
    noted = {"spikes": found.spikes}
    if "rates" in wants:
        noted["rates"] = found.emitted.sum(0, dtype=found.v.dtype)
    if "membranes" in wants:
        noted["membranes"] = _over_neurons(found.potentials)
    if "gaps" in wants:
        threshold = neuron.per_channel(neuron.threshold, found.v)
        spikes = (found.emitted / threshold).detach().round()
        noted["gaps"] = _over_neurons((found.potentials - spikes).square())
    return noted


def _over_neurons(values: Tensor) -> Tensor:
    """Sum over time of the mean over the neurons: [t, B, ...] to [B]."""
    return values.flatten(2).mean(2).sum(0) if values.ndim > 2 else values.sum(0)
