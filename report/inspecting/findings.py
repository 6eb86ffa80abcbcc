"""Findings from a row's numbers: what is wrong and what would mend it."""

from typing import Any

from torch import fx

from spikeport.convert import NeuronLayer, SpikingNetwork
from spikeport.report.inspecting.graph_pairing import Difference
from spikeport.report.inspecting.inspection import PARTS

NEGLIGIBLE = 0.005  # share of the output error below which nothing is said
MANY = 0.5  # share of a layer's channels from which its threshold is too high for all


def explain(
    row: dict[str, Any], network: SpikingNetwork, node: fx.Node, difference: Difference | None
) -> dict[str, Any]:
    """The row with ``kind``, ``finding`` and ``suggestion``; see ``Inspection.rows``.

    Args:
        row: numbers of a node, as ``LayerTally.row`` gives them; ``silent_share`` is taken out.
        network: that has the node.
        node: the row's.
        difference: from the reference, if there is one.
    """
    silent_share = row.pop("silent_share")
    neuron = network.neuron(str(node.target)) if node.meta["role"] == "neuron" else None
    kind = _kind(row, silent_share, neuron, difference)
    finding, suggestion = "", ""
    if kind in ("weights", "operation") and difference is not None:
        finding, suggestion = difference.text, _STRUCTURE[kind]
    elif kind in PARTS and row[kind] <= 0:
        finding = f"Its {kind} works against the errors of other layers."
    elif kind != "none":
        finding = _FINDINGS[kind](row)
        suggestion = _suggestion(kind, neuron)
    return {**row, "kind": kind, "finding": finding, "suggestion": suggestion}


def _kind(
    row: dict[str, Any],
    silent_share: float,
    neuron: NeuronLayer | None,
    difference: Difference | None,
) -> str:
    names = PARTS if difference is not None else PARTS[:-1]
    parts = {name: row[name] for name in names}
    if max(parts.values()) <= 0:  # it counteracts other layers, and yet exact values may be better
        parts = {name: -part for name, part in parts.items()}
    largest = max(parts, key=lambda name: parts[name])
    if max(parts[largest], row["gain"]) < NEGLIGIBLE:
        return "none"
    if largest == "structure" and difference is not None:
        return difference.kind
    few = neuron is not None and 0 < len(row["silent"]) < MANY * neuron.channels
    if few and silent_share > 0.5:
        return "silent"
    return largest


_FINDINGS = {
    "clipping": lambda row: (
        f"{row['clipping']:.0%} of the output error is clipping: values larger than the "
        f"thresholds let out{_of_saturated(row)}."
    ),
    "quantization": lambda row: (
        f"{row['quantization']:.0%} of the output error is quantization: the steps of this layer "
        f"are too large{_of_silent(row)}."
    ),
    "unevenness": lambda row: (
        f"{row['unevenness']:.0%} of the output error is unevenness: spikes came too early or too "
        "late and were not made up for."
    ),
    "silent": lambda row: (
        f"Channel(s) {row['silent'][:8]} never fire though the source network uses them."
    ),
}
_STRUCTURE = {
    "weights": "If no calibration pass changed them on purpose, spikeport.load_source(snn, model) "
    "brings the reference's back.",
    "operation": "Convert the reference again with to_snn.",
}


def _of_saturated(row: dict[str, Any]) -> str:
    return f", in {len(row['saturated'])} channel(s) often" if row["saturated"] else ""


def _of_silent(row: dict[str, Any]) -> str:
    return f", {len(row['silent'])} channel(s) never fire" if row["silent"] else ""


def _suggestion(kind: str, neuron: NeuronLayer | None) -> str:
    if neuron is None:
        return "Read the answer out over all timesteps: recipe without DelayedReadout."
    if kind == "clipping":
        return (
            "Raise the threshold: PercentileThreshold(99.99), MaxThreshold(), ReachThreshold() or "
            "ThresholdTuning; no number of timesteps makes up for it."
        )
    if kind == "silent":
        return "Their thresholds are too high: calibrate again, with thresholds per channel."
    if neuron.levels is not None:
        low, high = neuron.levels
        many, timesteps = max(high, -low), -(-max(high, -low) // neuron.max_up)
        return (
            f"Its activation has levels {low} to {high}: exact at T=1 with "
            f"neuron=sp.Neuron({many}, {max(-low, neuron.max_down)}), and with this one at "
            f"T={timesteps} where its currents are even."
        )
    half = bool((neuron.v0 >= 0.25 * neuron.threshold).all())
    if kind == "quantization":
        start = "" if half else "InitialPotential() rounds to the nearest level. "
        more = f"more spikes per timestep ({_more(neuron)})"
        return f"{start}More timesteps, {more} or a lower threshold."
    if not neuron.model.takes_back:
        return "A neuron that takes spikes back (neuron='signed') or DelayedReadout(0.25)."
    more = f"More spikes per timestep ({_more(neuron)})"
    return f"{more}, BiasOverTime(timesteps=T) or DelayedReadout(0.25)."


def _more(neuron: NeuronLayer) -> str:
    up, down = neuron.max_up * 4, max(1, neuron.max_down) * 4
    return f"neuron=sp.Neuron({up}, {down})"
