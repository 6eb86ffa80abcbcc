"""The rule that a neuron model with another update inherits no capability."""

import inspect
from types import FunctionType

FREE = {"both_signs", "max_up", "max_down"}  # they say what a model is, not how it fires
CODE = (FunctionType, property, staticmethod, classmethod)


def withdraw(cls: type, capabilities: type) -> None:
    """Give a class the defaults of what its bases declared for another update than its own.

    The update of a class is changed by whichever of its bases comes first and redefines ``step``,
    or code of the bases behind it that an inherited ``step`` may call. What this base, or one
    before it, declares stays; what those behind it declare does not.

    Args:
        cls: a neuron model.
        capabilities: the class with the defaults; its public names are the capabilities.
    """
    names = {name: value for name, value in vars(capabilities).items() if name[0] != "_"}
    line = [each for each in cls.__mro__ if each not in (object, capabilities)]
    changes = (_changes_update(line[place:], names) for place in range(len(line)))
    changed = next((place for place, change in enumerate(changes) if change), len(line))
    for name, default in names.items():
        if any(_declares(each, name) for each in line[: changed + 1]):
            continue
        if any(_declares(each, name) for each in line[changed + 1 :]):
            setattr(cls, name, default)


def _changes_update(line: list[type], capabilities: dict[str, object]) -> bool:
    """Whether the first class redefines ``step`` or code of a class behind it."""
    first, *behind = line
    for name in vars(first):
        free = name.startswith("__") or name in FREE or name in capabilities
        inherited = any(isinstance(vars(each).get(name), CODE) for each in behind)
        if name == "step" or (inherited and not free):
            return True
    return False


def _declares(cls: type, name: str) -> bool:
    return name in vars(cls) or name in inspect.get_annotations(cls)
