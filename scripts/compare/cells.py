"""The cells that `compare_methods` runs: recipes × neurons × T, and the T that share a run."""

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spikeport.calibration.recipes import RECIPES
from spikeport.convert import SpikingNetwork
from spikeport.convert.neurons import NeuronModel, spelled


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
        return f"{self.recipe}, {spelled(self.neuron)}, T={','.join(map(str, self.timesteps))}"

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
        for model in {repr(model): model for model in wanted}.values():
            foreign = own is not None and model != own
            for passes, together in _groups(name, model, timesteps, built, network_with):
                runs.append(Run(name, model, passes, tuple(together), foreign))
    return runs


def _groups(
    name: str,
    neuron: NeuronModel,
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
            if repr(neuron) not in built:
                built[repr(neuron)] = network_with(neuron)
            passes = repr(RECIPES[name].passes(built[repr(neuron)], time))
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
