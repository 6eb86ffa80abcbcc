"""One network as the page's template reads it: tables, charts and words."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from spikeport.report.inspecting.inspection import PARTS
from spikeport.report.number_format import amount, decimal, percent
from spikeport.report.page import sentences as wording
from spikeport.report.page.confusion import Differences, Example
from spikeport.report.page.data_url import is_small, picture
from spikeport.report.page.figures import Figures
from spikeport.report.page.measured_network import MeasuredNetwork

SHOWN = 10  # layers before the fold
MATRIX = 12  # classes of which the whole matrix is shown
PAIRS = 15


class Column(NamedTuple):
    """A column of the table of the curve."""

    name: str
    key: str
    text: Callable[[Any], str]


class CostRow(NamedTuple):
    """Operations and energy of one answer.

    Attributes:
        name: which network.
        acs: accumulates; None where unknown.
        macs: multiply-accumulates.
        joules: estimated energy, J.
        share: of the energy of the dense source network.
        width: of its bar, in per cent of the longest.
        table: which energies per operation it was made from.
        here: the spiking network itself.
    """

    name: str
    acs: float | None
    macs: float
    joules: float
    share: float
    width: float
    table: str
    here: bool


class Matrix(NamedTuple):
    """Images by source class (rows) and spiking class."""

    names: list[str]
    rows: list[list[int]]

    def shade(self, count: int) -> str:
        """Opacity of a cell off the diagonal."""
        off = [n for i, row in enumerate(self.rows) for j, n in enumerate(row) if i != j]
        return f"{0.12 + 0.5 * count / max(*off, 1):.2f}"


COLUMNS = (
    Column("Top-1", "top1", percent),
    Column("Agreement", "agreement", percent),
    Column("Output error", "output_error", percent),
    Column("Spikes per neuron", "spikes_per_neuron", decimal),
    Column("ACs", "acs", amount),
    Column("MACs", "macs", amount),
    Column("Energy, estimate", "energy_uj", lambda uj: amount(uj and uj * 1e-6, "J")),
)


def view(
    subject: MeasuredNetwork,
    figures: Figures,
    class_names: Sequence[str] | None,
    command: str | None,
    environment: dict[str, str],
) -> dict[str, Any]:
    """The variables of one network's part of the page.

    Args:
        subject: measured.
        figures: draws the figures.
        class_names: in the order of the outputs; None, or another number of names: classes are
            shown by number.
        command: the command line that writes the page.
        environment: programs and their versions.
    """
    differences, info = subject.differences, subject.curve.info
    inspection, config = subject.inspection, subject.info.get("input")
    names = _namer(class_names, differences.classes)
    differing = differences.pairs()
    return {
        "name": subject.name,
        "T": subject.T,
        "sentence": wording.sentence(subject),
        "headline": wording.headline(subject),
        "summary": wording.summary(subject),
        "left_out": wording.left_out(subject),
        "quoted": wording.quoted(subject),
        "made": wording.made(subject),
        "recipe": wording.recipe(subject),
        "measured": wording.measured(subject, environment),
        "command": command,
        "curve": subject.curve,
        "columns": [c for c in COLUMNS if subject.curve.rows[0][c.key] is not None],
        "source_row": {
            "top1": info["source_top1"],
            "macs": info["source_macs"],
            "energy_uj": info["source_energy_uj"],
        },
        "charts": figures.of_curve(subject.curve),
        "cost": subject.cost,
        "costs": _costs(subject),
        "costs_told": wording.costs_told(subject),
        "neurobench": wording.neurobench(subject.cost) if subject.cost else [],
        "inspection": inspection,
        "findings": [row for row in inspection.rows[:3] if row["finding"]] if inspection else [],
        "layers": _layers(inspection.rows, figures) if inspection else [],
        "shown": SHOWN,
        "parts": PARTS,
        "picture": picture(subject.image, config),
        "pixels": is_small(subject.image),
        "traces": [(trace, figures.of_trace(trace)) for trace in subject.traces],
        "takes_back": any(bool((trace.spikes < 0).any()) for trace in subject.traces),
        "differences": differences,
        "differing": sum(count for _, _, count in differing),
        "matrix": _matrix(differences, names),
        "pairs": [(names(a), names(b), n) for a, b, n in differing[:PAIRS]],
        "examples": [_shown(one, names, config) for one in differences.examples],
    }


def _namer(class_names: Sequence[str] | None, classes: int | None) -> Callable[[int], str]:
    def name(index: int) -> str:
        if class_names is not None and len(class_names) == classes and index < classes:
            return class_names[index]
        return f"class {index}"

    return name


def _costs(subject: MeasuredNetwork) -> list[CostRow]:
    """Costs from the cost table, or without it from the curve alone."""
    info, row = subject.curve.info, subject.row
    if subject.cost is None:
        spiking = {**row, "network": f"spiking, T={subject.T}", "table": ""}
        dense = {"acs": 0.0, "macs": info["source_macs"], "energy_uj": info["source_energy_uj"]}
        rows = [spiking, {**dense, "network": "source, dense", "table": ""}]
    else:
        rows = subject.cost.rows
    most = max(one["energy_uj"] for one in rows)
    unit = next(one["energy_uj"] for one in rows if one["network"].startswith("source, dense"))
    return [
        CostRow(
            one["network"].replace("T=", "T = "),
            one["acs"],
            one["macs"],
            one["energy_uj"] * 1e-6,
            one["energy_uj"] / unit if unit else 1.0,  # of networks that multiply nothing
            100 * one["energy_uj"] / most if most else 100.0,
            one["table"],
            one["network"].startswith("spiking"),
        )
        for one in rows
    ]


def _layers(rows: list[dict[str, Any]], figures: Figures) -> list[dict[str, Any]]:
    """The rows of the inspection with the lengths of their bars, in per cent of the longest."""
    gain = max(max(one["gain"] for one in rows), 1e-9)
    total = max(max(sum(max(one[part], 0) for part in PARTS) for one in rows), 1e-9)
    return [
        {
            **row,
            "gain_width": max(0.0, 100 * row["gain"] / gain),
            "widths": [max(0.0, 100 * row[part] / total) for part in PARTS],
            "told": ", ".join(f"{part} {percent(row[part])}" for part in PARTS),
            "spark": figures.of_density(row["density"]) if row["density"] else "",
        }
        for row in rows
    ]


def _matrix(differences: Differences, names: Callable[[int], str]) -> Matrix | None:
    classes = differences.classes
    if classes is None or classes > MATRIX:
        return None
    counts = differences.counts
    rows = [[counts[source, spiking] for spiking in range(classes)] for source in range(classes)]
    return Matrix([names(index) for index in range(classes)], rows)


def _shown(example: Example, names: Callable[[int], str], config: Any) -> dict[str, Any]:
    """An example with its picture and the names of its classes."""
    source, spiking = names(example.source.index), names(example.spiking.index)
    label = None if example.label is None else names(example.label)
    which = f"Image {example.number}" + ("" if label is None else f", labelled {label}")
    return {
        "picture": picture(example.image, config),
        "alt": f"{which}: the source network sees {source}, the spiking network {spiking}",
        "source": (source, example.source.share),
        "spiking": (spiking, example.spiking.share),
        "label": label,
    }
