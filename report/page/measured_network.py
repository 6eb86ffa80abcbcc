"""All that a page shows of one network, measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.inputs import Input, sizes
from spikeport.convert.simulation.input_encoding import EventFrames
from spikeport.report.costing.cost import Cost, cost
from spikeport.report.inspecting.inspect import inspect
from spikeport.report.inspecting.inspection import Inspection
from spikeport.report.operations.synapses import Synapses, count_synapses
from spikeport.report.page.confusion import Differences
from spikeport.report.page.spike_traces import Trace, record
from spikeport.report.sweeping.curve import Curve
from spikeport.report.sweeping.sweep import Answers, sweep

TRACED = 64  # timesteps, at most
LAYERS = 3  # whose spikes are shown


@dataclass(frozen=True)
class MeasuredNetwork:
    """One network and what was measured of it.

    Attributes:
        name: what it is called on the page.
        info: how it was made, as ``network.info``.
        layers: number of neuron layers.
        curve: from the sweep.
        differences: of the answers at ``T``.
        inspection: at ``T``; None where none was asked for.
        cost: at ``T``, of the inspected images; None as above.
        synapses: operations of the source network, and which of them become accumulates.
        traces: of a few layers while ``image`` is shown.
        image: [1, C, ...].
        T: the number of timesteps that the page speaks of: the one that the network is calibrated
            for if the sweep contains it, otherwise the largest.
    """

    name: str
    info: dict[str, Any]
    layers: int
    curve: Curve
    differences: Differences
    inspection: Inspection | None
    cost: Cost | None
    synapses: Synapses
    traces: list[Trace]
    image: Input
    T: int

    @property
    def row(self) -> dict[str, Any]:
        """The curve's row at ``T``."""
        (found,) = (row for row in self.curve.rows if row["timesteps"] == self.T)
        return found


def examine(
    name: str,
    network: SpikingNetwork,
    data: Iterable[Any],
    timesteps: Sequence[int],
    reference: nn.Module | None,
    inspected: int,
    progress: bool,
) -> MeasuredNetwork:
    """Sweep, inspect and trace one network; see ``write_report``."""
    aim = network.info.get("calibrated_for_timesteps")
    T = aim if aim is not None and aim in timesteps else max(timesteps)
    differences, kept = Differences(T), _FirstImages(max(inspected, 1))
    if isinstance(network.encoding, EventFrames):
        raise ConversionError(
            f"network '{name}' takes event frames, of which there is no page; use "
            "spikeport.sweep and spikeport.cost"
        )

    def see(answers: Answers) -> None:
        differences.add(answers)
        kept.add(answers)

    curve = sweep(network, data, timesteps, reference, progress=progress, on_batch=see)
    if curve.rows[0]["agreement"] is None:  # the output is used as values
        differences = Differences(T, images=differences.images)
    inspection = costs = None
    if inspected:
        inspection = inspect(network, kept.batches, T, progress=progress)
        costs = cost(network, kept.batches, T, reference, progress=progress)
    image = kept.batches[0][0][:1]
    layers = _chosen(list(network.neurons), inspection)
    return MeasuredNetwork(
        name,
        dict(network.info),
        len(network.neurons),
        curve,
        differences,
        inspection,
        costs,
        count_synapses(network, sizes(image)),
        record(network, image, layers, min(T, TRACED)),
        image,
        T,
    )


class _FirstImages:
    """Keeps the first images of the data, in their batches."""

    def __init__(self, count: int) -> None:
        self.count, self.batches = count, list[tuple[Input, Tensor | None]]()

    def add(self, answers: Answers) -> None:
        room = self.count - sum(len(images) for images, _ in self.batches)
        if room > 0:
            labels = answers.labels if answers.classified else None
            labels = None if labels is None else labels[:room]
            self.batches.append((answers.images[:room].clone(), labels))


def _chosen(layers: list[str], inspection: Inspection | None) -> list[str]:
    """The first, the last, and the one that the inspection ranks worst; or one from the middle."""
    rows = inspection.rows if inspection else []
    ranked = [row["layer"] for row in rows if row["layer"] in layers]
    wanted = [layers[0], layers[-1], *ranked, layers[len(layers) // 2]]
    return sorted(list(dict.fromkeys(wanted))[:LAYERS], key=layers.index)
