"""Use of a network's output: class scores, of which the largest counts, or values."""

from typing import Any, Literal, get_args

from spikeport.convert.batches import Batch
from spikeport.convert.errors import ConversionError
from spikeport.convert.simulation.early_exit import class_scores, is_scores

Task = Literal["classification", "values"]
TASKS: tuple[str, ...] = get_args(Task)


def check_task(task: str | None) -> None:
    """Raise ConversionError unless it is None (unknown) or one of ``TASKS``."""
    if task is not None and task not in TASKS:
        raise ConversionError(
            f"task is {task!r}; expected 'classification' (the output is class scores [B, classes]"
            "), 'values' (its numbers are the answer), or None to go by the labels"
        )


def task_of(outputs: Any, batch: Batch) -> Task | None:
    """The use that a batch's targets make of an output, or None where they do not tell.

    Args:
        outputs: of the source network on the batch.
        batch: taken apart.
    """
    if not is_scores(outputs):
        return "values"
    try:
        labels = batch.labels(class_scores(outputs).shape[1])
    except ConversionError:  # they name something else than classes of this output
        return None
    return "classification" if labels is not None and bool((labels >= 0).any()) else None
