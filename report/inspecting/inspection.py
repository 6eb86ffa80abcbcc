"""The result of ``inspect``: what each layer does to the output error, as a table and files."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from spikeport.convert.files import write_csv
from spikeport.report.writing import Formats, pictures, write, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("clipping", "quantization", "unevenness", "structure")
SHOWN = 12  # rows of the printed table
# what the table and the .csv hold of a row: heading, format
COLUMNS = {
    "layer": ("layer", "{}"),
    "gain": ("gain", "{:+.3f}"),
    "clipping": ("clipping", "{:+.3f}"),
    "quantization": ("quantization", "{:+.3f}"),
    "unevenness": ("unevenness", "{:+.3f}"),
    "structure": ("structure", "{:+.3f}"),
    "inherited": ("inherited", "{:.3f}"),
    "added": ("added", "{:.3f}"),
    "firing": ("firing", "{:.3f}"),
    "silent": ("silent", "{:d}"),
    "saturated": ("saturated", "{:d}"),
    "kind": ("kind", "{}"),
}


@dataclass
class Inspection:
    """The sources of the output error, layer by layer, in the source model's names.

    Attributes:
        rows: one dict for each neuron layer, and one for each other operation that makes an error
            of its own, largest gain first:

            - ``layer``;
            - ``gain``: share of the output error that goes if this layer were exact, measured by
              simulating with exact values in its place; 1: all of it, below 0: the error grows;
            - ``clipping``, ``quantization``, ``unevenness``, ``structure``: contributions to the
              output error, as shares of it (below 0: it counteracts others). All parts of all rows
              add up to ``explained``. ``structure``: weights or operations that differ from the
              reference's;
            - ``inherited``, ``added``: root mean square of the error that comes with the layer's
              input, and of the one that it adds, relative to the source network's activation;
            - ``kind``: what makes the larger part of this layer's error: "clipping",
              "quantization", "unevenness", "silent", "weights", "operation", or "none";
            - ``finding``, ``suggestion``: the same in a sentence, and the pass or neuron to use
              ("" where there is nothing to mend);
            - ``silent``: channels that never fired though the source network uses them;
              ``saturated``: channels of which more is asked than they can emit; ``unused``:
              channels that are zero in the source network on all these images; lists of int;
            - ``firing``: share of the neurons that fire in a timestep, mean; ``density``: the same
              at each timestep, [T]; None for what is no neuron layer;
            - ``rate_histogram``: ``{"edges": [N + 1], "counts": [N]}`` of spikes per timestep over
              neurons and images; None for what is no neuron layer.
        explained: sum of all parts, as a share of the measured output error; 1 would be all.
        spike_driven: share of the operations that are accumulates, in [0, 1]; see ``Synapses``.
        analog: one dict for each operation on values that are not spikes: ``layer``, ``reason``,
            ``macs`` (per image and evaluation), ``every_timestep`` (False: computed once).
        info: how the network was made and measured; JSON-able. ``output_error`` is the root mean
            square of the output's error relative to the reference's output.
    """

    rows: list[dict[str, Any]]
    explained: float
    spike_driven: float
    analog: list[dict[str, Any]] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data, as in the .json file."""
        return {
            "rows": self.rows,
            "explained": self.explained,
            "spike_driven": self.spike_driven,
            "analog": self.analog,
            "info": self.info,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, in the format of the file's ending: see ``FORMATS``.

        Raises:
            ConversionError: another ending.
            OSError: the file cannot be written.
        """
        write(self, path, FORMATS)

    def __str__(self) -> str:
        shown = self.rows[:SHOWN]
        heads = [head for head, _ in COLUMNS.values()]
        body = [[_cell(row[key], form) for key, (_, form) in COLUMNS.items()] for row in shown]
        widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
        lines = []
        for line in [heads, *body]:
            cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
            cells[0], cells[-1] = line[0].ljust(widths[0]), line[-1]
            lines.append("  ".join(cells))
        if len(self.rows) > SHOWN:
            lines.append(f"… and {len(self.rows) - SHOWN} more rows")
        return "\n".join([*lines, *self._findings(), *self._notes()])

    def _findings(self) -> list[str]:
        found = [row for row in self.rows[:3] if row["finding"]]
        return [f"- {row['layer']}: {row['finding']} {row['suggestion']}".rstrip() for row in found]

    def _notes(self) -> list[str]:
        info = self.info
        levels = "/".join(map(str, info["levels_per_timestep"]))
        against = (
            "Compared with the reference: weights and operations too."
            if info["reference"]
            else "No reference was given: wrong weights or operations cannot be seen; pass "
            "reference=model."
        )
        driven = (
            "" if self.spike_driven == 1 else "; " + ", ".join(one["layer"] for one in self.analog)
        )
        return [
            f"Output error {info['output_error']:.3f} of the output's size (root mean square); the "
            f"parts explain {self.explained:.0%} of it. Gain: share of the error that goes if the "
            f"layer were exact, on {info['swap_images']} images.",
            f"{info['images']} images, T={info['timesteps']}; {info['neuron_label']}, "
            f"{levels} levels per timestep; {info['latency']}; readout: {info['readout']}.",
            f"{self.spike_driven:.1%} of the operations in time are accumulates{driven}.",
            against,
        ]


def _csv(found: Inspection, file: BinaryIO) -> None:
    rows = [{key: _plain(value) for key, value in row.items()} for row in found.rows]
    write_csv(file, [*COLUMNS, "finding", "suggestion"], rows)


def _json(found: Inspection, file: BinaryIO) -> None:
    write_json(file, found.as_dict())


def _figure(found: Inspection) -> "Figure":
    from spikeport.report.drawing.error_bars import draw_error_bars

    info = found.info
    caption = (
        f"{info.get('source', 'network')}, {info['neuron_label']}, T={info['timesteps']}: "
        f"output error {info['output_error']:.3f}, explained {found.explained:.0%}"
    )
    return draw_error_bars(found.rows, PARTS, caption)


FORMATS: Formats[Inspection] = {".csv": _csv, ".json": _json, **pictures(_figure)}


def _plain(value: Any) -> Any:
    return len(value) if isinstance(value, list) else value


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else form.format(_plain(value))
