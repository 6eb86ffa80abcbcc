"""The cells that `compare_methods` runs: recipes × neurons × T, and the T that share a run."""

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from spikeport.calibration.recipes import RECIPES
from spikeport.convert import KINDS, Neuron, SpikingNetwork
from spikeport.convert.neurons import Differential, MultiThreshold, NeuronModel
from spikeport.scripts.options import neuron


@dataclass(frozen=True)
class Run:
    """One calibration and one simulation, for one or more cells of the table.

    Attributes:
        recipe: name in RECIPES.
        neuron: kind of neuron.
        passes: what the recipe is made of for this network, neuron and T; "" if it would not say.
        timesteps: the T of its cells, ascending.
        foreign: the recipe's paper uses another neuron.
    """

    recipe: str
    neuron: NeuronModel
    passes: str
    timesteps: tuple[int, ...]
    foreign: bool = False

    def __str__(self) -> str:
        return f"{self.recipe}, {label(self.neuron)}, T={','.join(map(str, self.timesteps))}"

    def key(self, facts: dict[str, Any], timesteps: int) -> str:
        """Stands for everything that a cell's numbers depend on, but for our own code."""
        parts = [facts, self.recipe, self.passes, repr(self.neuron), timesteps]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def plan(
    recipes: Sequence[str],
    neurons: Sequence[NeuronModel],
    timesteps: Sequence[int],
    all_neurons: bool,
    network_with: Callable[[NeuronModel], SpikingNetwork],
) -> list[Run]:
    """Lists the runs.

    Args:
        recipes: names in RECIPES.
        neurons: for recipes that leave the neuron open.
        timesteps: the T of the table.
        all_neurons: also run recipes that have their own neuron with the others.
        network_with: the converted network with a kind of neuron, not calibrated.
    """
    built: dict[str, SpikingNetwork] = {}
    runs = []
    for name in recipes:
        own = RECIPES[name].neuron
        wanted = [*neurons] if own is None else [own, *neurons] if all_neurons else [own]
        for spec in {repr(spec): spec for spec in wanted}.values():
            foreign = own is not None and spec != own
            for passes, together in _groups(name, spec, timesteps, built, network_with):
                runs.append(Run(name, spec, passes, tuple(together), foreign))
    return runs


def _groups(
    name: str,
    spec: NeuronModel,
    timesteps: Sequence[int],
    built: dict[str, SpikingNetwork],
    network_with: Callable[[NeuronModel], SpikingNetwork],
) -> list[tuple[str, list[int]]]:
    """Passes and the T that they are for.

    A recipe for one T gets a run for each. So does one that would do without T and yet chooses
    other passes when it is told; the T for which the passes are the same share a run.
    """
    groups: list[tuple[str, list[int]]] = []
    for time in sorted(set(timesteps)):
        try:
            if repr(spec) not in built:
                built[repr(spec)] = network_with(spec)
            passes = repr(RECIPES[name].passes(built[repr(spec)], time))
        except Exception:  # the run will meet it again, and record it
            passes = ""
        same = [group for text, group in groups if text == passes and not RECIPES[name].for_one_T]
        if same:
            same[0].append(time)
        else:
            groups.append((passes, [time]))
    return groups


def recipe_list(text: str) -> list[str]:
    """ "max,mse" as a list of names; "all" stands for every recipe."""
    names = sorted(RECIPES) if text == "all" else text.split(",")
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown recipe {unknown[0]!r}; there are {', '.join(sorted(RECIPES))}; or all"
        )
    return list(dict.fromkeys(names))


def label(spec: NeuronModel) -> str:
    """The shortest text that `neuron_list` reads as this neuron, or else its fields."""
    for name, kind in KINDS.items():
        if kind == spec:
            return name
    short = ""
    if type(spec) is Differential:
        short = f"diff:{label(spec.coder)}"
    elif type(spec) is Neuron:
        short = f"{spec.max_up}:{spec.max_down}"
    elif type(spec) is MultiThreshold:
        short = f"mt:{spec.exponents}"
    try:
        return short if neuron(short) == spec else _fields(spec)
    except ValueError:
        return _fields(spec)


def _fields(spec: Any) -> str:
    """The repr of a dataclass without what is as usual."""
    values = [(field, getattr(spec, field.name)) for field in fields(spec)]
    shown = [f"{field.name}={value!r}" for field, value in values if value != field.default]
    return f"{type(spec).__name__}({', '.join(shown)})"
