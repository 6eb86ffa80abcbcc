"""Sentences of a page about a network."""

import hashlib
from typing import Any, NamedTuple

from spikeport.convert import KINDS
from spikeport.convert.calibration_images import NOTED
from spikeport.convert.simulation.input_encoding import Constant
from spikeport.report.costing.cost import Cost
from spikeport.report.number_format import amount, decimal, percent
from spikeport.report.page.measured_network import MeasuredNetwork


class Figure(NamedTuple):
    """A number that stands out, and what to see beside it."""

    name: str
    value: str
    beside: str = ""


def sentence(subject: MeasuredNetwork) -> str:
    """The network in two sentences."""
    row, info = subject.row, subject.curve.info
    after = f"After {subject.T} timestep{'s' if subject.T > 1 else ''}"
    if row["agreement"] is not None:
        does = f"{after} it gives the source network's class on {percent(row['agreement'])} of "
    else:
        does = f"{after} its output is {percent(row['output_error'])} off the source's on "
    dense = info["source_energy_uj"]
    ratio = ""  # a network that multiplies nothing has none
    if dense:
        ratio = f": {decimal(row['energy_uj'] / dense, 2)} times that of the dense source network"
    return (
        f"{_source(subject)} as a spiking network: {info['neurons']:,} neurons in "
        f"{subject.layers} layers ({_neuron(info)}, {_levels(subject)} levels per timestep). {does}"
        f"{_images(info['images'])}, at an estimated {_energy(row)} per image{ratio}."
    )


def headline(subject: MeasuredNetwork) -> list[Figure]:
    """The numbers at T."""
    row, info, T = subject.row, subject.curve.info, subject.T
    at = f"at T = {T}"
    found = []
    if row["top1"] is not None:
        found.append(
            Figure("top-1 accuracy", percent(row["top1"]), f"source {percent(info['source_top1'])}")
        )
    if row["agreement"] is not None:
        found.append(Figure("agreement with the source", percent(row["agreement"]), at))
    else:
        found.append(Figure("relative output error", percent(row["output_error"]), at))
    return [
        *found,
        Figure("spikes per neuron", decimal(row["spikes_per_neuron"]), f"per image, {at}"),
        Figure("spike-driven", percent(subject.synapses.spike_driven), "of the operations in time"),
        Figure(
            "energy, estimate",
            _energy(row),
            f"source, dense: {amount(info['source_energy_uj'] * 1e-6, 'J')}",
        ),
    ]


def summary(subject: MeasuredNetwork) -> dict[str, str]:
    """The summary for the table of several networks."""
    row, info = subject.row, subject.curve.info
    return {
        "Source network": _source(subject),
        "Neuron": _neuron(info),
        "Levels per timestep": _levels(subject),
        "Recipe": str(info.get("recipe", "–")),
        "Timesteps T": str(subject.T),
        "Top-1": percent(row["top1"]),
        "Source top-1": percent(info["source_top1"]),
        "Agreement": percent(row["agreement"]),
        "Output error": percent(row["output_error"]),
        "Spikes per neuron": decimal(row["spikes_per_neuron"]),
        "Spike-driven": percent(subject.synapses.spike_driven),
        "ACs": amount(row["acs"]),
        "MACs": amount(row["macs"]),
        "Energy, estimate": _energy(row),
        "Source energy, dense": amount(info["source_energy_uj"] * 1e-6, "J"),
        "Images": str(info["images"]),
    }


def quoted(subject: MeasuredNetwork) -> str:
    """The facts that a number of timesteps has to be quoted with."""
    info = subject.curve.info
    return (
        f"Neuron: {_neuron(info)}, {_levels(subject)} levels per timestep; "
        f"{info['latency']}; readout: {info['readout']}."
    )


def costs_told(subject: MeasuredNetwork) -> str:
    """Whose costs the table shows."""
    images = (subject.cost or subject.curve).info["images"]
    return f"One answer at T = {subject.T}, mean over {_images(images)}."


def neurobench(found: Cost) -> list[tuple[str, str]]:
    """NeuroBench's metrics by name, per image."""
    metrics = found.neurobench
    return [
        ("Footprint", amount(metrics["footprint"], "B")),
        ("Activation sparsity", percent(metrics["activation_sparsity"])),
        ("Effective ACs", amount(metrics["effective_acs"])),
        ("Effective MACs", amount(metrics["effective_macs"])),
        ("Dense operations", amount(metrics["dense"])),
        ("Membrane updates", amount(metrics["membrane_updates"])),
    ]


def left_out(subject: MeasuredNetwork) -> list[str]:
    """Notes on what the page cannot show of this network, and why."""
    found, info = [], subject.curve.info
    if subject.differences.classes is None:
        found.append(
            "The output is not used as class scores [B, K]: accuracy, agreement, confusion and "
            "examples are left out; the output error stands in their place."
        )
    elif not info["labelled_images"]:
        found.append("The images have no labels: accuracy is left out.")
    if subject.inspection is None:
        found.append(
            "The network was not inspected: the errors of its layers and the baselines of its cost "
            "are left out."
        )
    if subject.inspection is not None and info["encoding"] != str(Constant()):
        found.append("The errors of the layers are those with a constant input current.")
    return found


def made(subject: MeasuredNetwork) -> list[tuple[str, str]]:
    """The conversion and calibration of the network."""
    info = subject.info
    T = info.get("calibrated_for_timesteps")
    facts = [
        ("Source network", _source(subject)),
        ("Checkpoint", info.get("checkpoint") or ""),
        ("Neuron", _neuron(subject.curve.info)),
        ("Recipe", info.get("recipe", "")),
        ("Passes", ", ".join(info.get("passes", []))),
        ("Calibrated for", f"T = {T}" if T else "any number of timesteps"),
        ("Calibration images", _calibration(info)),
    ]
    return [(name, value) for name, value in facts if value]


def measured(subject: MeasuredNetwork, environment: dict[str, str]) -> list[tuple[str, str]]:
    """The measurement of the page's numbers."""
    info = subject.curve.info
    return [
        ("Images", f"{info['images']}, {info['labelled_images']} of them labelled"),
        ("Latency", info["latency"]),
        ("Readout", info["readout"]),
        ("Input", info["encoding"]),
        ("Energy", info["energy_table"]),
        ("Software", ", ".join(f"{name} {version}" for name, version in environment.items())),
    ]


def recipe(subject: MeasuredNetwork) -> str:
    """Python that converts the source network in the same way."""
    info = subject.info
    passes = info.get("passes", [])
    named = info.get("recipe", "default")
    recipe = repr(named) if named != "custom" else f"[{', '.join(passes)}]"
    options = [f"neuron={_constructor(info['neuron'])}"] if "neuron" in info else []
    options.append(f"recipe={recipe}")
    if info.get("calibrated_for_timesteps"):
        options.append(f"timesteps={info['calibrated_for_timesteps']}")
    if info.get("checkpoint"):
        options.append(f"checkpoint={info['checkpoint']!r}")
    if info.get("analog_bottlenecks"):
        options.append("analog_bottlenecks=True")
    call = f"sp.to_snn(model, images, {', '.join(options)})"
    return f"# model: {_source(subject)}; images: those named above\n{call}"


def _source(subject: MeasuredNetwork) -> str:
    return str(subject.info.get("source", "A network"))


def _neuron(info: dict[str, Any]) -> str:
    return str(info["neuron_label"])


def _constructor(text: str) -> str:
    """A neuron's name in KINDS, or how it is made, from its ``repr``."""
    named = {repr(model): repr(name) for name, model in KINDS.items()}
    return named.get(text) or f"sp.{text}".replace(", leak=1.0, hard_reset=False", "")


def _levels(subject: MeasuredNetwork) -> str:
    return "/".join(map(str, subject.curve.info["levels_per_timestep"]))


def _images(count: int) -> str:
    return f"{count:,} image{'s' if count > 1 else ''}"


def _energy(row: dict[str, Any]) -> str:
    return amount(row["energy_uj"] * 1e-6, "J")


def _calibration(info: dict[str, Any]) -> str:
    images = info.get("calibration_images")
    if not images and NOTED in info:
        digest = hashlib.sha256("".join(info[NOTED]).encode()).hexdigest()[:16]
        return f"{_images(len(info[NOTED]))}, digest {digest} (SHA-256 over those of their values)"
    if not images:
        return "not noted in the network"
    digest = hashlib.sha256("".join(images).encode()).hexdigest()[:16]
    return f"{len(images)}, digest {digest} (SHA-256 over those of the files, as the network lists)"
