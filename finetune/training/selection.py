"""The part of a network's answer that is trained, where it returns several."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from spikeport.convert import ConversionError
from spikeport.convert.outputs import tensors
from spikeport.convert.simulation.early_exit import class_scores, is_scores
from spikeport.convert.simulation.run import map_tensors
from spikeport.finetune.gradient.record import Record

Select = str | int | Callable[[Any], Any] | None


def selected(answer: Any, select: Select) -> Any:
    """A part of an answer.

    Args:
        answer: a network's, tensors [B, ...].
        select: a key of a dict, a place in a tuple, a function of the answer, or None for the
            class scores in a dict or alone in a container, and for all of any other answer.

    Raises:
        ConversionError: the answer has no such part.
    """
    if select is None:
        named = isinstance(answer, Mapping) or len(tensors(answer)) == 1
        return class_scores(answer) if named and is_scores(answer) else answer
    if callable(select):
        return select(answer)
    try:
        if isinstance(answer, Tensor):
            raise TypeError
        return answer[select]
    except (KeyError, IndexError, TypeError) as cause:
        raise ConversionError(
            f"select={select!r}, and the network returns {described(answer)}; pass a key of it, a "
            "place in it, or a function that takes the part out"
        ) from cause


def selected_over_time(record: Record, select: Select) -> Record:
    """The record with a part of the outputs, [T, B, ...] each."""
    if isinstance(record.outputs, Tensor) and select is None:
        return record
    leaves = record.output_tensors()
    timesteps = len(leaves[0])
    folded = map_tensors(lambda value: value.flatten(0, 1), record.outputs)
    part = selected(folded, select)
    return record._replace(outputs=map_tensors(lambda v: v.unflatten(0, (timesteps, -1)), part))


def described(value: Any) -> str:
    """A value for an error: its shape, or its type and names."""
    if isinstance(value, Tensor):
        return f"shape {list(value.shape)}"
    names = f" with {list(value)}" if isinstance(value, dict) else ""
    return f"a {type(value).__name__}{names}"
