"""Networks on a page: one HTML file that needs nothing else."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import torch
from torch import nn

from spikeport import __version__
from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.files import is_stream, write_text
from spikeport.convert.simulation.timesteps import timesteps_to_report
from spikeport.report.drawing.style import PALETTE
from spikeport.report.number_format import amount, decimal, percent
from spikeport.report.page.figures import Figures
from spikeport.report.page.measured_network import MeasuredNetwork, examine
from spikeport.report.page.template_variables import view
from spikeport.report.sweeping.curve import Curve

TEMPLATES = Path(__file__).parent / "html"


def write_report(
    networks: SpikingNetwork | Mapping[str, SpikingNetwork],
    data: Iterable[Any] | Mapping[str, Iterable[Any]],
    path: str | os.PathLike[str],
    timesteps: int | Sequence[int] = (1, 2, 4, 8, 16, 32),
    *,
    reference: nn.Module | Mapping[str, nn.Module] | None = None,
    class_names: Sequence[str] | None = None,
    inspected: int = 8,
    command: str | None = None,
    progress: bool = True,
) -> list[Curve]:
    """Measure networks and write what was found to one self-contained HTML page.

    Curves over timesteps and energy, errors by layer, cost, spikes and membrane potentials of a few
    neurons, differences from the source network, and how to make it again. The file holds its style
    and pictures, and no script; an older one is replaced once the new one is complete.

    Args:
        networks: one, or several by name to compare on one page.
        data: list or DataLoader of (images [B, C, ...], labels [B]) or of images alone, as for
            ``sweep``; by the networks' names where each needs its own. Not the calibration images.
        path: the file, ending in .html.
        timesteps: the T of the curves, one or several. Everything else is shown at the one that a
            network is calibrated for if it is among them, otherwise at the largest.
        reference: source network in eval mode to compare with, or several by the networks' names;
            by default each network's own analog reading.
        class_names: in the order of the outputs, for networks with as many classes; the others'
            classes are shown by number.
        inspected: how many of the images, the first ones, are inspected for the errors of the
            layers, which takes a simulation for each layer, and counted for the table of costs; 0
            leaves these parts out.
        command: the command line to name on the page.
        progress: show bars for what takes longer than two seconds.

    Returns:
        The curve of each network, in order.

    Raises:
        ConversionError: no network, no data for one, another ending than .html, no such folder; or
            what ``sweep`` refuses.
    """
    path = Path(path)
    named_so = path.suffix in (".html", ".htm") or is_stream(path)
    if not named_so or not path.parent.is_dir():
        raise ConversionError(f"'{path}': expected a name ending in .html in a folder that exists")
    named = networks if isinstance(networks, Mapping) else {"": networks}
    if not named:
        raise ConversionError("networks is empty; pass a network, or several by name")
    timesteps = timesteps_to_report(timesteps)
    batches, references = _by_name("data", data, named), _by_name("reference", reference, named)
    subjects = [
        examine(name, one, batches[name], timesteps, references[name], inspected, progress)
        for name, one in named.items()
    ]
    write_text(path, render(subjects, class_names, command))
    return [subject.curve for subject in subjects]


def _by_name(what: str, given: Any, networks: Mapping[str, SpikingNetwork]) -> Mapping[str, Any]:
    """An argument for each network, given for all of them or by their names."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(networks, given)
    if set(given) != set(networks):
        raise ConversionError(
            f"{what} is given for {sorted(given)}; expected {sorted(networks)}, the networks' "
            "names, or one for all"
        )
    return given


def render(
    subjects: Sequence[MeasuredNetwork], class_names: Sequence[str] | None, command: str | None
) -> str:
    """The page's HTML."""
    environment, figures = _environment(), Figures()
    views = [view(one, figures, class_names, command, environment) for one in subjects]
    title = f"{len(subjects)} spiking networks compared"
    if len(subjects) == 1:
        title = subjects[0].name or str(subjects[0].info.get("source", "Spiking network"))
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        percent=percent, decimal=decimal, amount=amount, px=lambda value: f"{value:.4g}"
    )
    curves = {subject.name: subject.curve for subject in subjects}
    page = templates.get_template("page.html")
    return page.render(
        title=title,
        views=views,
        shared=figures.of_curves(curves) if len(subjects) > 1 else [],
        environment=environment,
        palette=PALETTE,
    )


def _environment() -> dict[str, str]:
    return {
        "spikeport": __version__,
        "torch": torch.__version__,
        "matplotlib": matplotlib.__version__,
        "Python": platform.python_version(),
        platform.system(): platform.machine(),
    }
