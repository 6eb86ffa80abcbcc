"""Accuracy against latency and energy: every T from one run."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.batches import images_and_labels, stream
from spikeport.convert.simulate import require_timesteps
from spikeport.report.curve import Curve
from spikeport.report.energy import CMOS_45NM_FP32, EnergyTable
from spikeport.report.synapses import Synapses, count_synapses


@torch.no_grad()
def sweep(
    network: SpikingNetwork,
    loader: Iterable[Any],
    timesteps: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    reference: nn.Module | None = None,
    energy: EnergyTable = CMOS_45NM_FP32,
    progress: bool = True,
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

    Returns:
        A curve with a row for each T; see ``Curve``.

    Raises:
        ConversionError: no data, timesteps < 1, a network that returns no class scores [B, K].
    """
    wanted = sorted({require_timesteps(value) for value in timesteps})
    if not wanted:
        raise ConversionError("timesteps is empty; pass for example timesteps=(1, 2, 4, 8)")
    if isinstance(reference, nn.Module) and reference.training:
        raise ConversionError("the reference is in training mode; call reference.eval() first")
    tally = _Tally(network, wanted, reference)
    for batch in stream(loader, f"simulating {wanted[-1]} timesteps", progress):
        tally.add(*images_and_labels(batch))
    return tally.curve(energy)


class _Tally:
    """Running sums over the batches of a sweep."""

    def __init__(
        self, network: SpikingNetwork, wanted: list[int], reference: nn.Module | None
    ) -> None:
        self.network, self.wanted = network, wanted
        self.reference = network.analog if reference is None else reference
        self.synapses: Synapses | None = None
        self.sums: dict[str, Tensor] = {}
        self.images = self.labelled = self.source_correct = 0
        self.correct = dict.fromkeys(wanted, 0)
        self.agreed = dict.fromkeys(wanted, 0)
        self.spikes = dict.fromkeys(wanted, 0.0)
        self.accumulates = dict.fromkeys(wanted, 0.0)

    def add(self, images: Tensor, labels: Tensor | None) -> None:
        """Simulate one batch."""
        if self.synapses is None:
            self.network.check_input(images)
            self.synapses = count_synapses(self.network, tuple(images.shape[1:]))
            self.fanouts = {name: self.synapses.total_fanout(name) for name in self.synapses.fanout}
        expected = _class_scores(self.reference(images)).argmax(1)
        labels = torch.full_like(expected, -1) if labels is None else labels.to(expected.device)
        self.labelled += int((labels >= 0).sum())
        self.source_correct += int((expected == labels).sum())
        self.images += len(images)
        for time, prediction in self._predictions(images):
            self.agreed[time] += int((prediction == expected).sum())
            self.correct[time] += int((prediction == labels).sum())

    def _predictions(self, images: Tensor) -> Iterable[tuple[int, Tensor]]:
        total, time = torch.zeros(()), 0
        for outputs in self.network.chunks(images, self.wanted[-1], observe=self._observe):
            for scores in _class_scores(outputs):
                total, time = total.to(scores) + scores, time + 1
                if time in self.correct:
                    yield time, total.argmax(1)

    def _observe(self, name: str, emitted: Tensor, first: int) -> None:
        """Add up what each position emitted; at a wanted T turn the sums into operations."""
        assert self.synapses is not None
        if first == 0:
            self.sums.pop(name, None)
        graded, begin = self.synapses.quantum[name] is not None, 0
        inside = [time - first for time in self.wanted if first < time < first + len(emitted)]
        for end in (*inside, len(emitted)):
            part = emitted[begin:end]
            # sums of whole multiples of one spike's value: dividing after summing loses nothing
            counts = (part.abs() if graded else part != 0).sum((0, 1))
            self.sums[name] = self.sums[name] + counts if name in self.sums else counts
            begin = end
            if first + end in self.spikes:
                self._count_operations(name, first + end)

    def _count_operations(self, name: str, time: int) -> None:
        assert self.synapses is not None
        counts, quantum = self.sums[name].double(), self.synapses.quantum[name]
        if quantum is not None:
            counts = counts / quantum
        if name in self.network.neurons:
            self.spikes[time] += float(counts.sum())
        fanout = self.synapses.total_fanout(name)
        if fanout is not None:
            self.accumulates[time] += float((counts * fanout).sum())

    def curve(self, energy: EnergyTable) -> Curve:
        """The rows."""
        assert self.synapses is not None
        once = sum(self.synapses.macs_once.values())
        each = sum(self.synapses.macs_per_timestep.values())
        rows = []
        for time in self.wanted:
            acs = self.accumulates[time] / self.images
            macs = once + each * time
            spikes = self.spikes[time] / self.images / self.synapses.neurons
            rows.append(
                {
                    "timesteps": time,
                    "top1": self.correct[time] / self.labelled if self.labelled else None,
                    "agreement": self.agreed[time] / self.images,
                    "spikes_per_neuron": spikes,
                    "acs": acs,
                    "macs": macs,
                    "energy_uj": energy.microjoules(acs, macs),
                }
            )
        return Curve(rows, self._info(energy))

    def _info(self, energy: EnergyTable) -> dict[str, Any]:
        assert self.synapses is not None
        levels = sorted({neuron.spec.levels for neuron in self.network.neurons.values()})
        return {
            **self.network.info,
            "images": self.images,
            "labelled_images": self.labelled,
            "source_top1": self.source_correct / self.labelled if self.labelled else None,
            "source_macs": self.synapses.source_macs,
            "source_energy_uj": energy.microjoules(0, self.synapses.source_macs),
            "energy_table": f"{energy.name} ({energy.ac} pJ per AC, {energy.mac} pJ per MAC; "
            f"{energy.source}); arithmetic only, an estimate",
            "levels_per_timestep": levels,
            "readout": "mean of the output over timesteps 1..T",
            "latency": "streaming: one sweep of T timesteps",
            "encoding": "constant current",
            "neurons": self.synapses.neurons,
            "analog_layers": self.network.analog_layers(),
        }


def _class_scores(outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.ndim not in (2, 3):
        kind = (
            f"shape {list(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else type(outputs).__name__
        )
        raise ConversionError(
            f"sweep needs a classifier with output [B, classes]; this network "
            f"returns {kind}. Use network.anytime(x, timesteps) for others."
        )
    return outputs
