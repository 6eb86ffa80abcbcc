"""The table of `compare_methods` as markdown, and the best of each T."""

from collections.abc import Sequence
from typing import Any

from spikeport.scripts.compare.results import OK, Row

# column of the results: (heading, format)
_SHOWN = {
    "recipe": ("recipe", "{}"),
    "neuron": ("neuron", "{}"),
    "T": ("T", "{}"),
    "latency": ("latency", "{}"),
    "readout": ("readout", "{}"),
    "levels": ("levels/step", "{}"),
    "top1": ("top-1", "{:.4f}"),
    "drop_points": ("drop (points)", "{:.2f}"),
    "agreement": ("agreement", "{:.3f}"),
    "spikes_per_neuron": ("spikes/neuron", "{:.2f}"),
    "acs_per_source_mac": ("ACs / source MACs", "{:.2f}"),
    "macs": ("MACs/image", "{:.3g}"),
    "energy_uj": ("energy est. (µJ)", "{:.1f}"),
    "calibration_seconds": ("calibration (s)", "{:.1f}"),
    "simulation_seconds": ("simulation (s)", "{:.1f}"),
    "images": ("images", "{}"),
    "calibration_images": ("calibration images", "{}"),
}
_ONCE = ("latency", "readout", "images", "calibration_images")  # said above where all are the same
WITHIN = 1.0  # points

BEST, CHEAPEST = "best", "cheapest"


def lost(row: Row) -> float:
    """Points of top-1 that the conversion cost; without labels, images that changed class."""
    drop = row["drop_points"]
    return float(100 * (1 - row["agreement"]) if drop is None else drop)


def latency_class(row: Row) -> str:
    """ "streaming" or whatever the result says it is; classes are not compared with each other."""
    return str(row["latency"]).partition(":")[0]


def marked(rows: Sequence[Row]) -> list[tuple[str, int, Row, Row]]:
    """The most accurate row of each latency class and T, and the cheapest close to it.

    Cheapest is the one with the fewest spikes per neuron among those within a point of the best.
    """
    found = []
    good = [row for row in rows if row["status"] == OK]
    for kind, time in sorted({(latency_class(row), row["T"]) for row in good}):
        here = [row for row in good if (latency_class(row), row["T"]) == (kind, time)]
        best = min(here, key=lambda row: (lost(row), row["spikes_per_neuron"]))
        near = [row for row in here if lost(row) <= lost(best) + WITHIN + 1e-9]
        found.append((kind, time, best, min(near, key=lambda row: row["spikes_per_neuron"])))
    return found


def summary(rows: Sequence[Row]) -> str:
    """Two lines for each T."""
    lines = []
    for kind, time, best, cheapest in marked(rows):
        lines.append(f"T={time} ({kind}): most accurate: {_brief(best)}")
        lines.append(f"  cheapest within {WITHIN:g} point of it: {_brief(cheapest)}")
    return "\n".join(lines)


def markdown(rows: Sequence[Row], title: str) -> str:
    """The page: what all rows have in common, the table, what failed."""
    good = sorted(
        (row for row in rows if row["status"] == OK),
        key=lambda row: (latency_class(row), row["T"], lost(row), row["spikes_per_neuron"]),
    )
    once = [name for name in _ONCE if len({row[name] for row in good}) == 1]
    shown = {name: how for name, how in _SHOWN.items() if name not in once}
    lines = [f"# {title}", ""]
    if good:
        lines += [*(f"- {_SHOWN[name][0]}: {good[0][name]}" for name in once), _source(good[0]), ""]
        lines += _table(good, shown)
        lines += [
            "",
            f"Mark: {BEST}, the most accurate of its T and latency class; {CHEAPEST}, the",
        ]
        lines += [f"fewest spikes per neuron within {WITHIN:g} point of it. Calibration includes"]
        lines += ["the conversion; simulation is the run that all T of a recipe were read from."]
    bad = [row for row in rows if row["status"] != OK]
    if bad:
        lines += ["", "## Without a result", ""]
    for row in bad:
        name = f"{row['recipe']}, {row['neuron']}, T={row['T']}"
        lines.append(f"- {name}: {row['status']}: {row['error']}")
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], shown: dict[str, tuple[str, str]]) -> list[str]:
    marks: dict[str, list[str]] = {}
    for _, _, best, cheapest in marked(rows):
        marks.setdefault(best["key"], []).append(BEST)
        marks.setdefault(cheapest["key"], []).append(CHEAPEST)
    heads = [head for head, _ in shown.values()]
    lines = [_cells([*heads, "mark"]), _cells(["---"] * (len(heads) + 1))]
    for row in rows:
        cells = [_text(row[name], form) for name, (_, form) in shown.items()]
        lines.append(_cells([*cells, ", ".join(marks.get(row["key"], []))]))
    return lines


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _source(row: Row) -> str:
    top1 = _text(row["source_top1"], "{:.4f}")
    return (
        f"- source network on the same images: top-1 {top1}, {row['source_macs']:.3g} MACs, "
        f"{row['source_energy_uj']:.1f} µJ (estimate)"
    )


def _brief(row: Row) -> str:
    measure = "changed class" if row["drop_points"] is None else "drop"
    return (
        f"{row['recipe']}, {row['neuron']}: {measure} {lost(row):.2f} points, "
        f"agreement {row['agreement']:.3f}, "
        f"{row['spikes_per_neuron']:.2f} spikes per neuron, {row['levels']} levels"
    )


def _text(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)
