"""The containers in which a network returns its outputs: taken apart, and put together again.

A graph computes with dicts, lists and tuples. What the source network returns may be a named
tuple, a dataclass, an OrderedDict, or Hugging Face's ModelOutput, which is both of the latter. The
``form`` of an output says which class stands where; it can be written to a file, as names. A class
is looked up among those that were seen at a conversion in this process, then in modules that are
already imported or belong to the packages in IMPORTED: a file cannot make anything else run.
"""

import dataclasses
import importlib
import sys
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor

IMPORTED = ("transformers", "torchvision", "timm", "diffusers")  # for a file's sake
_SEEN: "WeakValueDictionary[str, type]" = WeakValueDictionary()


def plain(output: Any) -> Any:
    """An output in dicts, lists and tuples, without what is neither a tensor nor a number."""
    return taken_apart(output)[0]


def taken_apart(output: Any) -> tuple[Any, Any]:
    """An output in dicts, lists and tuples, and its form, None where it has no other containers.

    Objects that are no containers (a cache of keys and values) are left out of dicts and are None
    in sequences.
    """
    kind = type(output)
    if isinstance(output, Mapping):
        return _with_form(kind, dict(output), kind is not dict)
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        fields = {f.name: getattr(output, f.name) for f in dataclasses.fields(output) if f.init}
        return _with_form(kind, fields, True)
    if isinstance(output, tuple | list):
        named = hasattr(output, "_fields")
        items, form = _with_form(kind, dict(enumerate(output)), named, keep=True)
        if named:
            form["fields"] = list(output._fields)  # type: ignore[union-attr]
        return (list if isinstance(output, list) else tuple)(items.values()), form
    return output, None


def _with_form(
    kind: type, items: dict[Any, Any], special: bool, keep: bool = False
) -> tuple[dict[Any, Any], Any]:
    found: dict[Any, Any] = {}
    forms: list[list[Any]] = []
    for key, value in items.items():
        if not _is_output(value):
            if keep:
                found[key] = None
            continue
        found[key], form = taken_apart(value)
        if form is not None:
            forms.append([key, form])
    if not special and not forms:
        return found, None
    return found, {"type": _name(kind) if special else None, "inside": forms}


def _is_output(value: Any) -> bool:
    containers = (Mapping, tuple, list)
    leaf = value is None or isinstance(value, Tensor | bool | int | float | complex | str)
    return leaf or isinstance(value, containers) or dataclasses.is_dataclass(value)


def left_out(output: Any, where: str = "") -> list[str]:
    """Text for each object that ``taken_apart`` leaves out: "past_key_values (DynamicCache)"."""
    if isinstance(output, Mapping):
        items = list(output.items())
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        items = [(f.name, getattr(output, f.name)) for f in dataclasses.fields(output) if f.init]
    elif isinstance(output, tuple | list):
        items = list(enumerate(output))
    else:
        return []
    found = []
    for key, value in items:
        name = f"{where}.{key}".lstrip(".")
        found += (
            left_out(value, name) if _is_output(value) else [f"{name} ({type(value).__name__})"]
        )
    return found


def typed(output: Any, form: Any) -> Any:
    """The inverse of ``taken_apart``; plain containers, with a warning, for an unknown class."""
    if form is None:
        return output
    items = dict(output) if isinstance(output, dict) else dict(enumerate(output))
    for key, inside in form["inside"]:
        if key in items:
            items[key] = typed(items[key], inside)
    name = form["type"]
    if isinstance(output, dict):
        return items if name is None else _made(name, _class(name), items)
    if "fields" in form:
        kind = _class(name) or namedtuple(name.rpartition(".")[2], form["fields"])  # noqa: PYI024
        return kind(*items.values())
    return type(output)(items.values())


def _made(name: str, kind: type | None, items: dict[Any, Any]) -> Any:
    if kind is not None:
        build: Callable[[], Any] = lambda: kind(items)  # noqa: E731
        if dataclasses.is_dataclass(kind):
            build = lambda: kind(**items)  # noqa: E731
        try:
            return build()
        except (TypeError, ValueError):  # the class takes other arguments than its fields
            pass
    warnings.warn(
        f"the source network's output is a '{name}', which cannot be made here: it is a dict; "
        "import its module first",
        stacklevel=2,
    )
    return items


def _name(kind: type) -> str:
    name = f"{kind.__module__}:{kind.__qualname__}"
    _SEEN[name] = kind
    return name


def _class(name: str) -> Any:
    """The class of a name, if it is a container that may hold an output."""
    if name == "collections:OrderedDict":
        return OrderedDict
    found = _SEEN.get(name)
    if found is not None:
        return found
    module, _, path = name.partition(":")
    if module not in sys.modules and module.partition(".")[0] in IMPORTED:
        try:
            importlib.import_module(module)
        except ImportError:
            return None
    value: Any = sys.modules.get(module)
    for part in path.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, type):
        return None
    holds = issubclass(value, Mapping) or hasattr(value, "_fields")
    return value if holds or dataclasses.is_dataclass(value) else None


def check_form(form: Any) -> Any:
    """A form out of a file; raises ValueError for one that ``taken_apart`` never makes."""
    if form is None:
        return None
    names = set(form)
    fields = form.get("fields", [])
    texts = all(isinstance(field, str) and field.isidentifier() for field in fields)
    if not {"type", "inside"} <= names <= {"type", "inside", "fields"} or not texts:
        raise ValueError(f"the form of the output has {sorted(names)}")
    if not isinstance(form["type"], str | None) or ("fields" in form and form["type"] is None):
        raise ValueError(f"the form of the output has the type {form['type']!r}")
    for _, inside in form["inside"]:
        check_form(inside)
    return form
