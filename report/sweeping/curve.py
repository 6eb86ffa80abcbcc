"""The result of a sweep: rows, a table, files and a plot."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from spikeport.convert.files import write_csv
from spikeport.report.number_format import significant
from spikeport.report.writing import Formats, pictures, write, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Column = tuple[str, Callable[[Any], str]]  # heading, and how a value is written

COLUMNS: dict[str, Column] = {  # by key of a row
    "timesteps": ("T", "{:d}".format),
    "top1": ("top-1", "{:.3f}".format),
    "agreement": ("agreement", "{:.3f}".format),
    "output_error": ("output error", "{:.3f}".format),
    "spikes_per_neuron": ("spikes/neuron", "{:.2f}".format),
    "acs": ("ACs", "{:.3g}".format),
    "macs": ("MACs", "{:.3g}".format),
    "energy_uj": ("energy est. (µJ)", significant),
}

OUTPUTS = 6  # whose errors are listed under a table


@dataclass
class Curve:
    """Accuracy, spikes and operations for each number of timesteps.

    Attributes:
        rows: one dict for each T: ``timesteps``; ``top1`` (share of the labelled images, None
            without labels); ``agreement`` (share of the images on which the class is the source
            network's; None where the output is not used as class scores); ``output_errors`` (for
            each output by its name: root of the squared difference from the source's over its
            squares, over all images) and ``output_error`` (the largest of them);
            ``spikes_per_neuron`` (spikes of either sign, each level counted, per image
            up to T); ``acs`` and ``macs`` (accumulates and multiply-accumulates per image up to
            T); ``energy_uj`` (estimate, µJ per image).
        info: how the network was made and measured; JSON-able. ``info["early_exits"]`` holds such
            a row for each rule of early exit, with the mean T as ``timesteps``.
    """

    rows: list[dict[str, Any]]
    info: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        heads = [head for head, _ in COLUMNS.values()]
        body = [[shown(row[key], form) for key, (_, form) in COLUMNS.items()] for row in self.rows]
        for row in self.exits:
            line = [
                shown(row[key], form) for key, (_, form) in COLUMNS.items() if key != "timesteps"
            ]
            body.append([f"{row['timesteps']:.2f} mean", *line])
        if "source_macs" in self.info:
            source = {
                "timesteps": None,
                "top1": self.info["source_top1"],
                "agreement": None if self.rows[0]["agreement"] is None else 1.0,
                "output_error": 0.0,
                "spikes_per_neuron": None,
                "acs": None,
                "macs": self.info["source_macs"],
                "energy_uj": self.info["source_energy_uj"],
            }
            last = [shown(source[key], form) for key, (_, form) in COLUMNS.items()]
            body.append(["source", *last[1:]])
        return "\n".join([*cells([heads, *body]), *self._notes()])

    @property
    def exits(self) -> list[dict[str, Any]]:
        """The rows of early exit."""
        return list(self.info.get("early_exits", ()))

    def _notes(self) -> list[str]:
        if not self.info:
            return []
        levels = "/".join(map(str, self.info["levels_per_timestep"]))
        analog = self.info["analog_layers"]
        aim = self.info.get("calibrated_for_timesteps")
        notes = [
            f"{self.info['images']} images; {self.info['neuron_label']}, {levels} levels "
            f"per timestep; {self.info['latency']}; readout: {self.info['readout']}; input: "
            f"{self.info['encoding']}.",
            f"Energy: {self.info['energy_table']}.",
            "Every weighted layer but the first receives spikes."
            if not analog
            else f"{len(analog)} weighted layer(s) receive analog values, first '{analog[0]}'.",
        ]
        for row in self.exits:
            rule = row["exit"]
            sign = "<=" if rule["rule"] == "entropy" else ">="
            notes.append(
                f"Mean T {row['timesteps']:.2f}: each image stops at {rule['rule']} {sign} "
                f"{rule['threshold']:.4g}, asked every {rule['every']} timestep(s) from "
                f"T={rule['first']} on, at most {row['at_most']}."
            )
        errors = self.rows[-1].get("output_errors", {})
        if len(errors) > 1:
            worst = sorted(errors.items(), key=lambda item: -item[1])
            listed = ", ".join(f"{name} {error:.3f}" for name, error in worst[:OUTPUTS])
            notes.append(
                f"Output error: the worst of {len(errors)} outputs; at "
                f"T={self.rows[-1]['timesteps']}: {listed}{', …' if worst[OUTPUTS:] else ''}."
            )
        notes += calibration_notes(self.info)
        if aim is not None:
            notes.append(f"Calibrated for T={aim}; at another T, calibrate for that one.")
        return notes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the curve, in the format of the file's ending: see ``FORMATS``.

        Raises:
            ConversionError: another ending.
            OSError: the file cannot be written.
        """
        write(self, path, FORMATS)


def calibration_notes(info: dict[str, Any]) -> list[str]:
    """Sentences on calibration images among those of an evaluation."""
    notes = []
    if info.get("left_out_images"):
        notes.append(f"{info['left_out_images']} calibration image(s) are left out.")
    if info.get("evaluated_on_calibration_images"):
        notes.append("These are the images that it was calibrated on; pass others to judge it.")
    return notes


def _csv(curve: Curve, file: BinaryIO) -> None:
    write_csv(file, list(COLUMNS), [*curve.rows, *curve.exits])


def _json(curve: Curve, file: BinaryIO) -> None:
    write_json(file, {"rows": curve.rows, "info": curve.info})


def _figure(curves: Mapping[str, Curve]) -> "Figure":
    from spikeport.report.drawing.curves import draw_curves  # only here: matplotlib

    return draw_curves(curves)


# The endings of a curve's files; `spikeport sweep` offers these.
FORMATS: Formats[Curve] = {
    ".csv": _csv,
    ".json": _json,
    **pictures(lambda curve: _figure({"": curve})),
}


def plot_curves(curves: Mapping[str, Curve], path: str | os.PathLike[str]) -> None:
    """Draw curves against timesteps and against estimated energy, to a .png, .svg or .pdf file.

    Of one, accuracy and agreement, or its output error where it gives no class scores. Of several,
    one measure that all of them have: top-1 accuracy, otherwise agreement, otherwise output error.

    Args:
        curves: by name; the name of a single one is not shown.
        path: the file.

    Raises:
        ConversionError: another ending.
        OSError: the file cannot be written.
    """
    write(curves, path, pictures(_figure))


def cells(lines: list[list[str]]) -> list[str]:
    """The lines of a table, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]


def shown(value: Any, form: Callable[[Any], str]) -> str:
    """A number as a cell; "-" where there is none."""
    return "-" if value is None else form(value)
