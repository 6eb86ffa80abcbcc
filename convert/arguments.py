"""The arguments of a network's forward in a batch, and what came with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.inputs import Inputs, Signature

INPUT_NAMES = (
    *("x", "input", "inputs", "image", "images", "img", "pixel_values", "input_ids"),
    *("data", "features", "input_features", "input_values"),
)
TARGET_NAMES = ("labels", "label", "y", "target", "targets")


def arguments_and_target(batch: Any, signature: Signature) -> tuple[Inputs, Any]:
    """The arguments as they came, not checked, and what belongs to them; see ``convert.batches``.

    Raises:
        ConversionError: names or a number of arguments that the forward does not take.
    """
    if isinstance(batch, Mapping):
        return _by_name(batch, signature)
    if not isinstance(batch, tuple | list):
        return _by_position((batch,), signature, batch), None
    if len(batch) == 0:
        raise ConversionError(f"a batch is {kind_of(batch)}; expected tensors in it")
    first, rest = batch[0], batch[1:]
    count = len(signature.required)
    if isinstance(first, Mapping):
        inputs, own = _by_name(first, signature)
        return inputs, rest[0] if rest else own
    several = count > 1 or (not signature.converted and len(signature.arguments) > 1)
    if isinstance(first, tuple | list) and (several or signature.more):
        inputs = _by_position(first, signature, batch)
    elif count > 1:
        inputs, rest = _by_position(batch[:count], signature, batch), batch[count:]
    else:
        inputs = _by_position((first,), signature, batch)
    return inputs, rest[0] if rest else None


def _by_position(values: Sequence[Any], signature: Signature, batch: Any) -> Inputs:
    names = [*signature.arguments] or ["input"]
    if signature.more:
        names += [f"input_{index}" for index in range(len(names), len(values))]
    fewest = len(signature.required)
    most = fewest if signature.converted else len(names)
    if not min(fewest, most) <= len(values) <= most:
        wanted = f"{fewest} ({', '.join(signature.required)})" if fewest else f"up to {most}"
        raise ConversionError(
            f"a batch is {kind_of(batch)}, with {len(values)} input(s); the network takes {wanted}:"
            " pass a tuple of them, or a dict by the names of the forward's arguments"
        )
    if signature.converted and fewest:
        if signature.required != signature.arguments[:fewest]:
            if fewest > 1:
                raise ConversionError(
                    f"a batch is {kind_of(batch)}; the network was converted with the arguments "
                    f"{', '.join(signature.required)}: pass a dict of them by name"
                )
            return Inputs(dict(zip(signature.required, values, strict=True)), 0, signature.options)
        return Inputs(dict(zip(names, values, strict=False)), fewest, signature.options)
    return Inputs(dict(zip(names, values, strict=False)), len(values))


def _by_name(batch: Mapping[Any, Any], signature: Signature) -> tuple[Inputs, Any]:
    targets = {
        name: batch[name]
        for name in TARGET_NAMES
        if name in batch and name not in signature.required
    }
    target: Any = targets if len(targets) > 1 else next(iter(targets.values()), None)
    named = {
        name: batch[name] for name in signature.arguments if name in batch and name not in targets
    }
    if not named:
        return _by_usual_name(batch, signature), target
    if signature.more and not signature.converted:
        others = (name for name in batch if name not in {*named, *targets})
        named |= {name: batch[name] for name in others if _is_array(batch[name])}
    options = {name: value for name, value in named.items() if _is_option(value)}
    values = {name: value for name, value in named.items() if name not in options}
    options = {name: value for name, value in options.items() if value is not None}
    if signature.converted:
        _check_names(values, options, signature)
        values = {name: values[name] for name in signature.required}
        options = dict(signature.options)
    first = len(values) == 1 and next(iter(values)) == signature.arguments[0] and not options
    return Inputs(values, int(first), options), target


def _by_usual_name(batch: Mapping[Any, Any], signature: Signature) -> Inputs:
    """The one input of a batch that does not name it as the forward does."""
    found = [name for name in INPUT_NAMES if name in batch]
    if len(found) != 1 or len(signature.required) > 1:
        problem = "nothing" if not found else f"{' and '.join(map(repr, found))}"
        wanted = signature.required or signature.arguments[:1]
        raise ConversionError(
            f"a batch is a dict with {sorted(map(str, batch))}, of which {problem} can be the "
            f"input; name it after the forward's argument{_quoted(wanted)} or one of "
            f"{', '.join(INPUT_NAMES)}"
        )
    return _by_position((batch[found[0]],), signature, batch)


def _check_names(
    values: Mapping[str, Any], options: Mapping[str, Any], signature: Signature
) -> None:
    """Refuse a batch that is not of the arguments that the network was converted with."""
    missing = [name for name in signature.required if name not in values]
    more = [name for name in values if name not in signature.required]
    if missing or more:
        problem = f"has no {', '.join(missing)}" if missing else f"has {', '.join(more)} too"
        raise ConversionError(
            f"the network was converted with the arguments {', '.join(signature.required)}, and a "
            f"batch {problem}; pass the same ones, or convert it with such a batch"
        )
    for name, value in options.items():
        if name not in signature.options or signature.options[name] != value:
            was = f"with {name}={signature.options[name]!r}" if name in signature.options else ""
            raise ConversionError(
                f"the network was converted {was or f'without {name}'}, which is part of its graph,"
                f" and a batch has {name}={value!r}; convert it with that"
            )


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_option(value: Any) -> bool:
    """Whether an argument is part of the program and no data."""
    return value is None or isinstance(value, bool | int | float | str)


def _quoted(names: Sequence[str]) -> str:
    return f" {', '.join(map(repr, names))}" if names else ""


def kind_of(value: Any) -> str:
    """A value for an error: its type, with shapes, and what is in it."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {value.dtype}"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    if isinstance(value, tuple | list):
        inside = ", ".join(map(kind_of, value[:3])) + (", …" if len(value) > 3 else "")
        return f"a {type(value).__name__} ({inside})"
    return f"a {type(value).__name__}"
