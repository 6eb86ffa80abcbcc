"""Accuracy against latency and energy: every T from one run."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.batches import Batch
from spikeport.convert.calibration_images import EvaluationData, without_digests
from spikeport.convert.inputs import Input, call, sizes
from spikeport.convert.neurons.layer import levels_per_timestep, neuron_labels
from spikeport.convert.simulation.early_exit import EarlyExit, class_scores, is_scores
from spikeport.convert.simulation.emitted import Emitted
from spikeport.convert.simulation.timesteps import timesteps_to_report
from spikeport.report.operations.energy import EnergyTable, of_source, table_of
from spikeport.report.operations.spike_counter import PerImage, SpikeCounter
from spikeport.report.sweeping.curve import Curve
from spikeport.report.sweeping.exit_tally import ExitTally
from spikeport.report.sweeping.output_errors import OutputErrors


@dataclass(frozen=True)
class Answers:
    """Answers to one batch of a sweep.

    Attributes:
        images: [B, C, ...], or several inputs; of event frames the mean over time.
        labels: class indices, int64 [B], below 0 where unknown; or, where ``classified`` is False,
            the targets as they came, such as masks [B, H, W].
        classified: whether the answers are class scores and the targets labels, or there are none.
        source: the reference's output, [B, ...] or a structure of such tensors.
        spiking: the decoded output after each wanted T, like ``source``.
    """

    images: Input
    labels: Any
    source: Any
    spiking: dict[int, Any]
    classified: bool = True


@torch.no_grad()
def sweep(
    network: SpikingNetwork,
    loader: Iterable[Any],
    timesteps: int | Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    reference: nn.Module | None = None,
    energy: EnergyTable | None = None,
    progress: bool = True,
    early_exit: EarlyExit | Sequence[EarlyExit] = (),
    on_batch: Callable[[Answers], None] | None = None,
    keep_calibration: bool = False,
) -> Curve:
    """Simulate once to the largest T and read the answer out at each.

    Under ``torchrun``, with ``torch.distributed`` initialised, every process passes its share of
    the images (none twice), and all return the curve over all of them.

    Args:
        network: converted and calibrated.
        loader: list or DataLoader of batches, see ``convert.batches``: (images [B, C, ...], labels
            [B]), images alone, dicts; a label below 0 means unknown. Targets that are no class
            labels are passed on to ``on_batch``. Images that the network was calibrated on are
            left out, and the curve says how many; if there are no others, they are evaluated, and
            the curve says that.
        timesteps: the T to report, one or several.
        reference: source network in eval mode to compare with; by default the network's own
            analog reading, which equals the source network until a pass changes weights.
        energy: energies per operation for the estimate; by default those of 45 nm CMOS for the
            network's own numbers, floats or the whole numbers of an integer network, and for its
            source's floats.
        progress: show a bar when it takes longer than two seconds.
        early_exit: rules by which images stop before the largest T; each is another run, and a line
            with its mean T.
        on_batch: called with the answers to each batch, for those who look at single images.
        keep_calibration: evaluate on calibration images like on others.

    Returns:
        A curve with a row for each T; see ``Curve``. Accuracy and agreement are those of class
        scores, an output [B, K] of a network for classification (``network.info["task"]``, see
        ``calibrate``) or, where that is not known, one that comes with labels or an early exit.
        Any other output has an output error alone.

    Raises:
        ConversionError: no data, timesteps < 1; an early exit on a network that returns no class
            scores [B, K].
    """
    wanted = timesteps_to_report(timesteps)
    if isinstance(reference, nn.Module) and reference.training:
        raise ConversionError("the reference is in training mode; call reference.eval() first")
    exits = [early_exit] if isinstance(early_exit, EarlyExit) else list(early_exit)
    data = evaluation_data(network, loader, keep_calibration)
    tally = _SweepTally(network, wanted, reference, exits, on_batch)
    for batch in data.read(f"simulating {wanted[-1]} timesteps", progress):
        tally.add(batch)
    counts = processes.added(torch.tensor([tally.images, data.left_out], dtype=torch.float64))
    if not counts[0]:
        data.use_all()
        for batch in data.read(f"simulating {wanted[-1]} timesteps", progress):
            tally.add(batch)
    tally.add_other_processes()
    curve = tally.curve(energy or table_of(network))
    curve.info["left_out_images"] = 0 if data.calibrated_on else int(counts[1])
    curve.info["evaluated_on_calibration_images"] = data.calibrated_on
    return curve


def evaluation_data(network: SpikingNetwork, loader: Any, keep: bool) -> EvaluationData:
    """The data of an evaluation; what one has read already stays as it is."""
    known = isinstance(loader, EvaluationData)
    return loader if known else EvaluationData(network, loader, keep)


class _SweepTally:
    """Running sums over the batches of a sweep."""

    def __init__(
        self,
        network: SpikingNetwork,
        wanted: list[int],
        reference: nn.Module | None,
        early_exits: list[EarlyExit],
        on_batch: Callable[[Answers], None] | None,
    ) -> None:
        self.network, self.wanted, self.early_exits = network, wanted, early_exits
        self.task = network.info.get("task")
        self.on_batch = on_batch
        self.reference = network.analog if reference is None else partial(call, reference)
        self.counter = SpikeCounter(network)
        last = wanted[-1]
        self.exits = [ExitTally(network, last, e, self.counter) for e in early_exits]
        self.so_far: dict[str, tuple[float, float]] = {}  # spikes and accumulates of one batch
        self.images = self.labelled = self.source_correct = 0
        self.scores = self.scored = True
        self.errors = OutputErrors(wanted)
        self.correct = dict.fromkeys(wanted, 0)
        self.agreed = dict.fromkeys(wanted, 0)
        self.spikes = dict.fromkeys(wanted, 0.0)
        self.accumulates = dict.fromkeys(wanted, 0.0)

    def add(self, batch: Batch) -> None:
        """Simulate one batch."""
        images, encoding = batch.x, self.network.encoding
        encoding.check(self.network, images, self.wanted[-1])
        first = encoding.batch(images)
        self.counter.expect(sizes(first), len(first))
        still = self.network.encoding.still(images, self.wanted[-1])
        source = self.reference(still.clone())  # some networks write into their input
        self.scores = is_scores(source)
        if self.exits:
            class_scores(source)  # refused before anything is simulated
        self.errors.add_source(source)
        known = None
        if self.task != "values" or self.exits:
            known = class_labels(Batch(still, batch.target), source)
        self.scored &= known is not None or batch.target is None
        labels = known if known is not None else torch.full((len(still),), -1, device=still.device)
        self.labelled += int((labels >= 0).sum())
        self.images += len(still)
        if self.scores:
            classes = class_scores(source).argmax(1)
            self.source_correct += int((classes == labels).sum())
        self.so_far.clear()
        spiking = {}
        for time, outputs in self.network.readouts(images, self.wanted, watch=self._watch):
            self.errors.add(time, outputs, source)
            if self.scores:
                prediction = class_scores(outputs).argmax(1)
                self.agreed[time] += int((prediction == classes).sum())
                self.correct[time] += int((prediction == labels).sum())
            if self.on_batch:
                spiking[time] = outputs
        for tally in self.exits:
            tally.add(images, labels, class_scores(source).argmax(1))
        if self.on_batch:
            plain = known is not None or batch.target is None
            given = labels if plain else batch.target
            self.on_batch(Answers(still, given, source, spiking, plain))

    def add_other_processes(self) -> None:
        """The sums over the images of all processes."""
        curves = (self.correct, self.agreed, self.spikes, self.accumulates)
        counts = (self.images, self.labelled, self.source_correct, not self.scored)
        own = [*map(float, counts), *self.errors.sums]
        own += [float(curve[time]) for curve in curves for time in self.wanted]
        own += astuple(self.counter.totals)
        added = processes.added(torch.tensor(own, dtype=torch.float64)).tolist()
        self.images, self.labelled, self.source_correct, others = map(round, added[:4])
        self.scored = not others
        places = iter(added[4:])
        self.errors.sums = places
        for curve in curves:
            curve.update({time: next(places) for time in self.wanted})
        self.counter.totals = PerImage(*places)
        for tally in self.exits:
            tally.add_other_processes()

    def _watch(self, name: str, emitted: Emitted) -> None:
        """Count what a layer emitted, up to each wanted T."""
        begin = 0
        spikes, accumulates = self.so_far.get(name, (0.0, 0.0))
        ends = {time - emitted.first for time in self.wanted} | {emitted.timesteps}
        for end in sorted(end for end in ends if 0 < end <= emitted.timesteps):
            more = self.counter.count(name, emitted, begin, end)
            begin, time = end, emitted.first + end
            spikes, accumulates = spikes + more[0], accumulates + more[1]
            if time in self.spikes:
                self.spikes[time] += spikes
                self.accumulates[time] += accumulates
        self.so_far[name] = (spikes, accumulates)

    def _classifies(self) -> bool:
        """Whether the output is used as class scores."""
        by_labels = self.task is None and self.labelled > 0 and self.scored
        return self.scores and (by_labels or self.task == "classification" or bool(self.exits))

    def _scored(self) -> bool:
        return self._classifies() and self.scored and self.labelled > 0

    def curve(self, energy: EnergyTable) -> Curve:
        """The rows."""
        of_one = self.counter.totals.mean(self.images)
        classifies, scored = self._classifies(), self._scored()
        rows = []
        for time in self.wanted:
            acs = self.accumulates[time] / self.images
            macs = of_one.once + of_one.each * time
            spikes = self.spikes[time] / self.images / of_one.neurons
            rows.append(
                {
                    "timesteps": time,
                    "top1": self.correct[time] / self.labelled if scored else None,
                    "agreement": self.agreed[time] / self.images if classifies else None,
                    **self.errors.row(time),
                    "spikes_per_neuron": spikes,
                    "acs": acs,
                    "macs": macs,
                    "energy_uj": energy.microjoules(acs, macs, of_one.neurons * time),
                }
            )
        return Curve(rows, self._info(energy))

    def _info(self, energy: EnergyTable) -> dict[str, Any]:
        of_one = self.counter.totals.mean(self.images)
        neurons = of_one.neurons
        scored = self._scored()
        levels = levels_per_timestep(self.network.neurons.values())
        source = of_source(self.network, energy)
        return {
            "neuron_label": neuron_labels(self.network.neurons.values()),
            **without_digests(self.network.info),
            "images": self.images,
            "labelled_images": self.labelled,
            "source_top1": self.source_correct / self.labelled if scored else None,
            "source_macs": of_one.source_macs,
            "source_energy_uj": source.microjoules(0, of_one.source_macs, of_one.neurons),
            "energy_table": str(energy),
            "levels_per_timestep": levels,
            "readout": _window(self.network.readout_delay),
            "latency": "streaming: one sweep of T timesteps",
            "encoding": str(self.network.encoding),
            "neurons": int(neurons) if neurons.is_integer() else neurons,
            "analog_layers": self.network.analog_layers(),
            "early_exits": [tally.row(self.labelled, energy, of_one) for tally in self.exits],
        }


def _window(delay: float) -> str:
    first = f"floor({delay:g}·T)+1" if delay else "1"
    return f"mean of the output over timesteps {first}..T"


def class_labels(batch: Batch, answers: Any) -> Tensor | None:
    """The class indices of a batch, int64 [B]; None where it has none, or the answers no classes.

    Args:
        batch: taken apart.
        answers: of a network to it.
    """
    if batch.target is None or not is_scores(answers):
        return None
    labels = batch.labels(class_scores(answers).shape[1])
    if labels is None:
        warnings.warn(
            "the targets are no class labels [B] or one-hot rows [B, K]: accuracy is left out",
            stacklevel=1,
        )
    return labels
