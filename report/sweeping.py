"""Accuracy against latency and energy: every T from one run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.batches import images_and_labels, stream
from spikeport.convert.emitted import Emitted
from spikeport.convert.simulate import require_timesteps
from spikeport.report.curve import Curve
from spikeport.report.energy import CMOS_45NM_FP32, EnergyTable
from spikeport.report.synapses import Synapses, count_synapses


@dataclass(frozen=True)
class Answers:
    """What one batch of a sweep gave.

    Attributes:
        images: [B, C, ...].
        labels: [B], below 0 where unknown.
        source: the reference's output, [B, ...] or a structure of such tensors.
        spiking: the decoded output after each wanted T, like ``source``.
    """

    images: Tensor
    labels: Tensor
    source: Any
    spiking: dict[int, Any]


@torch.no_grad()
def sweep(
    network: SpikingNetwork,
    loader: Iterable[Any],
    timesteps: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    reference: nn.Module | None = None,
    energy: EnergyTable = CMOS_45NM_FP32,
    progress: bool = True,
    on_batch: Callable[[Answers], None] | None = None,
) -> Curve:
    """Simulate once to the largest T and read the answer out at each.

    Args:
        network: converted and calibrated.
        loader: list or DataLoader of (images [B, C, ...], labels [B]) or of images alone; a
            label below 0 means unknown. Not the calibration images.
        timesteps: the T to report.
        reference: source network in eval mode to compare with; by default the network's own
            analog reading, which equals the source network until a pass changes weights.
        energy: energies per operation for the estimate.
        progress: show a bar when it takes longer than two seconds.
        on_batch: called with the answers to each batch, for those who look at single images.

    Returns:
        A curve with a row for each T; see ``Curve``. A network that returns something else than
        class scores [B, K] has no accuracy and no agreement, only an output error.

    Raises:
        ConversionError: no data, timesteps < 1.
    """
    wanted = sorted({require_timesteps(value) for value in timesteps})
    if not wanted:
        raise ConversionError("timesteps is empty; pass for example timesteps=(1, 2, 4, 8)")
    if isinstance(reference, nn.Module) and reference.training:
        raise ConversionError("the reference is in training mode; call reference.eval() first")
    tally = _Tally(network, wanted, reference, on_batch)
    for batch in stream(loader, f"simulating {wanted[-1]} timesteps", progress):
        tally.add(*images_and_labels(batch))
    return tally.curve(energy)


class _Tally:
    """Running sums over the batches of a sweep."""

    def __init__(
        self,
        network: SpikingNetwork,
        wanted: list[int],
        reference: nn.Module | None,
        on_batch: Callable[[Answers], None] | None,
    ) -> None:
        self.network, self.wanted, self.on_batch = network, wanted, on_batch
        self.reference = network.analog if reference is None else reference
        self.synapses: Synapses | None = None
        self.neurons = set(network.neurons)
        self.fanouts: dict[str, Tensor | None] = {}
        self.by_channel: dict[str, bool] = {}  # whether its channels have different fan-outs
        self.so_far: dict[str, tuple[float, float]] = {}  # spikes and accumulates of one batch
        self.images = self.labelled = self.source_correct = 0
        self.classifies = True
        self.square = 0.0  # of the source's outputs
        self.square_error = dict.fromkeys(wanted, 0.0)
        self.correct = dict.fromkeys(wanted, 0)
        self.agreed = dict.fromkeys(wanted, 0)
        self.spikes = dict.fromkeys(wanted, 0.0)
        self.accumulates = dict.fromkeys(wanted, 0.0)

    def add(self, images: Tensor, labels: Tensor | None) -> None:
        """Simulate one batch."""
        if self.synapses is None:
            self.network.check_input(images)
            self.synapses = count_synapses(self.network, tuple(images.shape[1:]))
            for name in self.synapses.fanout:
                self._set_fanout(name, self.synapses.total_fanout(name))
        source = self.reference(images)
        self.classifies = is_scores(source)
        self.square += _squares(source)
        labels = torch.full((len(images),), -1) if labels is None else labels
        labels = labels.to(images.device)
        self.labelled += int((labels >= 0).sum())
        self.images += len(images)
        if self.classifies:
            self.source_correct += int((source.argmax(1) == labels).sum())
        self.so_far.clear()
        spiking = {}
        for time, outputs in self.network.readouts(images, self.wanted, watch=self._watch):
            self.square_error[time] += _squares(outputs, source)
            if self.classifies:
                prediction = outputs.argmax(1)
                self.agreed[time] += int((prediction == source.argmax(1)).sum())
                self.correct[time] += int((prediction == labels).sum())
            if self.on_batch:
                spiking[time] = outputs
        if self.on_batch:
            self.on_batch(Answers(images, labels, source, spiking))

    def _set_fanout(self, name: str, fanout: Tensor | None) -> None:
        alike = fanout is None or bool((fanout == fanout[:1]).all())
        if fanout is not None:  # with channels innermost in memory, as counts of packed spikes are
            fanout = fanout[0] if alike else fanout.movedim(0, -1).contiguous().movedim(-1, 0)
        self.by_channel[name], self.fanouts[name] = not alike, fanout

    def _watch(self, name: str, emitted: Emitted) -> None:
        """Count what a layer emitted, up to each wanted T."""
        assert self.synapses is not None
        quantum, begin = self.synapses.quantum[name], 0
        spikes, accumulates = self.so_far.get(name, (0.0, 0.0))
        ends = {time - emitted.first for time in self.wanted} | {emitted.timesteps}
        for end in sorted(end for end in ends if 0 < end <= emitted.timesteps):
            counts = emitted.counts(quantum, begin, end, by_channel=self.by_channel[name])
            begin = end
            spikes += float(counts.sum())
            fanout = self.fanouts[name]
            if fanout is not None:
                accumulates += float((counts * fanout).sum())
            time = emitted.first + end
            if time in self.spikes:
                self.spikes[time] += spikes if name in self.neurons else 0.0
                self.accumulates[time] += accumulates
        self.so_far[name] = (spikes, accumulates)

    def curve(self, energy: EnergyTable) -> Curve:
        """The rows."""
        assert self.synapses is not None
        once = sum(self.synapses.macs_once.values())
        each = sum(self.synapses.macs_per_timestep.values())
        scored = self.labelled and self.classifies
        rows = []
        for time in self.wanted:
            acs = self.accumulates[time] / self.images
            macs = once + each * time
            spikes = self.spikes[time] / self.images / self.synapses.neurons
            rows.append(
                {
                    "timesteps": time,
                    "top1": self.correct[time] / self.labelled if scored else None,
                    "agreement": self.agreed[time] / self.images if self.classifies else None,
                    "output_error": (self.square_error[time] / max(self.square, 1e-30)) ** 0.5,
                    "spikes_per_neuron": spikes,
                    "acs": acs,
                    "macs": macs,
                    "energy_uj": energy.microjoules(acs, macs),
                }
            )
        return Curve(rows, self._info(energy))

    def _info(self, energy: EnergyTable) -> dict[str, Any]:
        assert self.synapses is not None
        scored = self.labelled and self.classifies
        levels = sorted({neuron.spec.levels for neuron in self.network.neurons.values()})
        return {
            **self.network.info,
            "images": self.images,
            "labelled_images": self.labelled,
            "source_top1": self.source_correct / self.labelled if scored else None,
            "source_macs": self.synapses.source_macs,
            "source_energy_uj": energy.microjoules(0, self.synapses.source_macs),
            "energy_table": f"{energy.name} ({energy.ac} pJ per AC, {energy.mac} pJ per MAC; "
            f"{energy.source}); arithmetic only, an estimate",
            "levels_per_timestep": levels,
            "readout": _window(self.network.readout_delay),
            "latency": "streaming: one sweep of T timesteps",
            "encoding": "constant current",
            "neurons": self.synapses.neurons,
            "analog_layers": self.network.analog_layers(),
        }


def _window(delay: float) -> str:
    first = f"floor({delay:g}·T)+1" if delay else "1"
    return f"mean of the output over timesteps {first}..T"


def is_scores(outputs: Any) -> bool:
    """Whether a network's output is class scores, [B, K] with K > 1."""
    return isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 1


def _squares(outputs: Any, subtract: Any = None) -> float:
    """Sum of the squares of all values, less those of another structure of the same form."""
    values = pytree.tree_leaves(outputs)
    others = [0.0] * len(values) if subtract is None else pytree.tree_leaves(subtract)
    return sum(
        float((value - other).double().square().sum())
        for value, other in zip(values, others, strict=True)
        if isinstance(value, Tensor) and value.is_floating_point()
    )
