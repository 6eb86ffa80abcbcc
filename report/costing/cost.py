"""The cost of an answer, beside the source network's."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from spikeport.convert import SpikingNetwork
from spikeport.convert.batches import Batch
from spikeport.convert.files import write_csv
from spikeport.convert.graph.operations.macs import synapses
from spikeport.convert.inputs import Input, call
from spikeport.convert.simulation.early_exit import EarlyExit, class_scores, is_scores
from spikeport.convert.simulation.timesteps import require_timesteps
from spikeport.report.costing.neurobench import complexity, weighted_layers
from spikeport.report.costing.quantized import bits, quantized
from spikeport.report.operations.energy import (
    CMOS_45NM_FP32,
    CMOS_45NM_INT8,
    EnergyTable,
    of_source,
    table_of,
)
from spikeport.report.sweeping.curve import COLUMNS as OF_CURVES
from spikeport.report.sweeping.curve import Column, calibration_notes, cells, shown
from spikeport.report.sweeping.output_errors import OutputErrors
from spikeport.report.sweeping.sweep import class_labels, evaluation_data, sweep
from spikeport.report.writing import Formats, write, write_json

MEASURES = ("top1", "agreement", "output_error", "output_errors")
COLUMNS: dict[str, Column] = {
    "network": ("network", "{}".format),
    **{key: OF_CURVES[key] for key in ("top1", "agreement", "output_error", "acs", "macs")},
    "updates": ("neuron updates", "{:.3g}".format),
    "energy_uj": OF_CURVES["energy_uj"],
    "table": ("numbers", "{}".format),
}


@dataclass
class Cost:
    """Operations and energy of one answer, per image.

    Attributes:
        rows: one dict for the spiking network and for each baseline: ``network`` (what it is);
            ``top1`` (None without labels); ``agreement`` with the source network; both are None
            where the output is no class scores [B, K]; ``output_error``, as in a ``Curve``;
            ``acs``, ``macs``; ``updates`` (neurons times timesteps); ``energy_uj`` (estimate, µJ)
            and ``table``, the name of the energies that it was made from.
        neurobench: the metrics of ``complexity``, NeuroBench's definitions.
        info: how the network was made and measured; JSON-able.
    """

    rows: list[dict[str, Any]]
    neurobench: dict[str, float]
    info: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        columns = {
            key: column
            for key, column in COLUMNS.items()
            if any(row[key] is not None for row in self.rows)
        }
        heads = [head for head, _ in columns.values()]
        body = [[shown(row[key], form) for key, (_, form) in columns.items()] for row in self.rows]
        metrics = ", ".join(f"{key} {value:.4g}" for key, value in self.neurobench.items())
        return "\n".join([*cells([heads, *body]), *self.info["notes"], f"NeuroBench: {metrics}."])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, in the format of the file's ending: .csv (the rows) or .json (everything).

        Raises:
            ConversionError: another ending.
            OSError: the file cannot be written.
        """
        write(self, path, FORMATS)


def _csv(found: Cost, file: BinaryIO) -> None:
    write_csv(file, list(COLUMNS), found.rows)


def _json(found: Cost, file: BinaryIO) -> None:
    content = {"rows": found.rows, "neurobench": found.neurobench, "info": found.info}
    write_json(file, content)


FORMATS: Formats[Cost] = {".csv": _csv, ".json": _json}


@torch.no_grad()
def cost(
    network: SpikingNetwork,
    loader: Iterable[Any],
    timesteps: int,
    reference: nn.Module | None = None,
    table: EnergyTable | None = None,
    progress: bool = True,
    early_exit: EarlyExit | None = None,
    keep_calibration: bool = False,
) -> Cost:
    """Count what the spiking network and the source network do for one answer.

    The baselines are the source network dense, with its zero activations skipped, and both with
    the activations quantised to the levels that T timesteps can reach; with up to 8 bits, 45 nm
    float numbers become the 8-bit ones for them. Whatever the network returns, operations and
    energy are counted; accuracy and agreement need class scores [B, K].

    Args:
        network: calibrated.
        loader: list or DataLoader, as for ``sweep``.
        timesteps: T.
        reference: source network in eval mode, as for ``sweep``.
        table: energies per operation, with a memory or without; by default as for ``sweep``.
        progress: show a bar when it takes longer than two seconds.
        early_exit: a rule by which images stop before T, in a row of its own.
        keep_calibration: as for ``sweep``.

    Raises:
        ConversionError: as ``sweep``.
    """
    timesteps = require_timesteps(timesteps)
    exits = () if early_exit is None else (early_exit,)
    data = evaluation_data(network, loader, keep_calibration)
    curve = sweep(
        network, data, (timesteps,), reference, table or table_of(network), progress, exits
    )
    info, neurons = curve.info, float(curve.info["neurons"])
    classifies = curve.rows[0]["agreement"] is not None
    small = quantized(network, timesteps)
    ask = network.analog if reference is None else partial(call, reference)
    source = _Baseline(network, network.analog)
    coarse = _Baseline(small, lambda x: small(x, timesteps=1))
    for x, target in data.read("counting zeros", progress):
        images = network.encoding.still(x, timesteps)
        expected = ask(images.clone())  # which may write into it
        labels = class_labels(Batch(images, target), expected) if classifies else None
        for baseline in (source, coarse):
            baseline.add(images, labels, expected)
    levels = bits(small)
    own = table or table_of(network)
    table = of_source(network, own)
    float_table = table.with_memory(None) == CMOS_45NM_FP32
    narrow = CMOS_45NM_INT8.with_memory(table.memory) if float_table and levels <= 8 else table
    rows = [
        *(_spiking(row, neurons, own) for row in (*curve.rows, *curve.exits)),
        *source.rows("source", table, info["source_macs"], neurons, classifies),
        *coarse.rows(
            f"source, {levels}-bit activations", narrow, info["source_macs"], neurons, classifies
        ),
    ]
    info = {**info, "timesteps": timesteps, "quantized_bits": levels, "energy_table": str(own)}
    info["notes"] = _notes(info)
    return Cost(rows, complexity(network, data, timesteps, progress), info)


def _spiking(row: dict[str, Any], neurons: float, table: EnergyTable) -> dict[str, Any]:
    time = row["timesteps"]
    return {
        "network": f"spiking, mean T={time:.2f}" if "exit" in row else f"spiking, T={time}",
        **{key: row[key] for key in (*MEASURES, "acs", "macs")},
        "updates": neurons * time,
        "energy_uj": row["energy_uj"],
        "table": table.name,
    }


class _Baseline:
    """A network without time: how good, and its multiply-accumulates on inputs that are not 0."""

    def __init__(self, network: SpikingNetwork, forward: Callable[[Any], Any]) -> None:
        self.network, self.forward = network, forward
        self.images = self.labelled = self.correct = self.agreed = 0
        self.effective = 0.0
        self.errors = OutputErrors([0])

    def add(self, images: Input, labels: Tensor | None, expected: Any) -> None:
        """Run one batch."""

        def count(layer: nn.Module, args: Any) -> None:
            self.effective += float(synapses(layer, (args[0] != 0).double()))

        layers = weighted_layers(self.network).values()
        handles = [layer.register_forward_pre_hook(count) for layer in layers]
        try:
            found = self.forward(images)
        finally:
            for handle in handles:
                handle.remove()
        self.images += len(images)
        self.errors.add_source(expected)
        self.errors.add(0, found, expected)
        if is_scores(expected):
            best = class_scores(found).argmax(1)
            labels = torch.full_like(best, -1) if labels is None else labels
            self.labelled += int((labels >= 0).sum())
            self.correct += int((best == labels).sum())
            self.agreed += int((best == class_scores(expected).argmax(1)).sum())

    def rows(
        self, name: str, table: EnergyTable, dense: float, neurons: float, classifies: bool
    ) -> list[dict[str, Any]]:
        """Dense, and with zeros skipped."""
        kinds = {f"{name}, dense": dense, f"{name}, zeros skipped": self.effective / self.images}
        return [
            {
                "network": kind,
                "top1": self.correct / self.labelled if self.labelled and classifies else None,
                "agreement": self.agreed / self.images if classifies else None,
                **self.errors.row(0),
                "acs": 0.0,
                "macs": macs,
                "updates": neurons,
                "energy_uj": table.microjoules(0.0, macs, neurons),
                "table": table.name,
            }
            for kind, macs in kinds.items()
        ]


def _notes(info: dict[str, Any]) -> list[str]:
    levels = "/".join(map(str, info["levels_per_timestep"]))
    return [
        f"{info['images']} images; T={info['timesteps']}; {info['neuron_label']}, "
        f"{levels} levels per timestep; {info['latency']}; readout: {info['readout']}; "
        f"input: {info['encoding']}.",
        f"Energy: {info['energy_table']}.",
        "Counted are convolutions and linear layers; pools, gates and products are not.",
        *calibration_notes(info),
    ]
