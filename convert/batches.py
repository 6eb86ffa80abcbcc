"""A batch of data: what may be one, and what the network and the labels are in it.

Every verb takes its data through this file. A batch is a tensor [B, ...]; a tuple or list with it
first and what belongs to it (labels, masks, boxes) second; or a dict with the input under the name
of the forward's argument or one of INPUT_NAMES, and what belongs to it under one of TARGET_NAMES.
NumPy arrays are taken for tensors.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset
from tqdm import tqdm

from spikeport.convert import processes
from spikeport.convert.errors import ConversionError

INPUT_NAMES = (
    *("x", "input", "inputs", "image", "images", "img", "pixel_values"),
    *("data", "features", "input_features", "input_values"),
)
TARGET_NAMES = ("labels", "label", "y", "target", "targets")
EXPECTED = "a float tensor [B, ...], (tensor, targets) or a dict of them, as a DataLoader gives it"


class Batch(NamedTuple):
    """One batch, taken apart.

    Attributes:
        x: the network's input, [B, ...], floating point, in the network's type and on its device.
        target: what came with it, as it came: labels, masks, boxes; None where nothing did.
    """

    x: Tensor
    target: Any

    def labels(self, classes: int) -> Tensor | None:
        """The class indices, int64 [B], below 0 where unknown; None where the target is no label.

        Class labels are [B] or [B, 1] of any integer type, as a tensor, an array or a list, and
        one-hot rows [B, K] of any type. Others (masks, images, boxes, soft labels) are none.

        Args:
            classes: K, of the network's answers.

        Raises:
            ConversionError: labels beyond the classes, or of another number of images.
        """
        labels = _class_indices(self.target, classes)
        if labels is None:
            return None
        if len(labels) != len(self.x):
            raise ConversionError(
                f"a batch has {len(labels)} labels for {len(self.x)} inputs (the input is "
                f"{list(self.x.shape)}, batch first); pass one label for each"
            )
        if len(labels) and int(labels.max()) >= classes:
            raise ConversionError(
                f"a batch has the label {int(labels.max())}, but the network has {classes} "
                f"classes, 0 to {classes - 1}; number the labels as the network does, or pass the "
                "inputs alone"
            )
        return labels.to(self.x.device)


def take_apart(batch: Any, arguments: Sequence[str] = (), like: Tensor | None = None) -> Batch:
    """Find the network's input in a batch, and what came with it.

    Args:
        batch: see above.
        arguments: names of the forward's arguments, for batches that are dicts.
        like: a tensor of the network's type, on its device; by default the input stays as it is.

    Raises:
        ConversionError: anything else, or an input that is no floating point tensor or not finite.
    """
    x, target = _input_and_target(batch, arguments)
    found = _tensor(x, "the input")
    if found is None:
        raise ConversionError(f"a batch is {_kind(batch)}; expected {EXPECTED}")
    if _is_single(target):
        raise ConversionError(
            f"a batch is {_kind(batch)}: one item of a data set; pass "
            "DataLoader(dataset, batch_size=32), which makes batches [B, ...] of them"
        )
    _check_type(found)
    if like is not None:
        found = _as_the_network(found, like)
    if not bool(torch.isfinite(found).all()):
        raise ConversionError("the input holds NaN or infinite values; check the images")
    # where no gradient is recorded anyway, one that the input wants decides on no backend
    return Batch(found if torch.is_grad_enabled() else found.detach(), target)


def taken_for(batch: Any, model: nn.Module) -> Batch:
    """``take_apart`` for a network that is not converted yet."""
    import inspect

    arguments = list(inspect.signature(model.forward).parameters)
    weights = (value for value in model.parameters() if value.is_floating_point())
    return take_apart(batch, arguments, next(weights, None))


def stream(batches: Iterable[Any], what: str, progress: bool) -> Iterator[Any]:
    """Iterate over the data with a progress bar that shows after two seconds, in one process.

    Raises:
        ConversionError: the data is empty, or no iterable of batches; see ``check_data``.
    """
    check_data(batches)
    empty = True
    progress = progress and processes.is_first()
    for batch in tqdm(batches, desc=what, unit="batch", delay=2, disable=not progress):
        empty = False
        yield batch
    if empty:
        raise ConversionError("the data has no batch; pass at least one batch of images")


def check_data(batches: Any) -> None:
    """Raise ConversionError unless the data is something to iterate over batches, repeatedly."""
    kind, advice = type(batches).__name__, "pass a list of batches or a DataLoader"
    if isinstance(batches, Tensor | np.ndarray | Mapping) or _is_one_pair(batches):
        advice = "one batch is enough, but in a list: [batch]"
    elif isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        kind += ", which gives single items"
        advice = "pass DataLoader(dataset, batch_size=32)"
    elif isinstance(batches, Callable) and not hasattr(batches, "__iter__"):  # type: ignore[arg-type]
        advice = "pass what it returns: a list of batches or a DataLoader"
    elif isinstance(batches, Iterator):
        kind += ", which can be read only once"
    elif not isinstance(batches, str | bytes) and hasattr(batches, "__iter__"):
        return
    raise ConversionError(f"the data is a {kind}; {advice}")


def number_of_batches(batches: Iterable[Any]) -> int:
    """The number of batches of the data; a stream without a length is read once to count them."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # a DataLoader has a length, and refuses it over an IterableDataset
        return sum(1 for _ in stream(batches, "counting batches", progress=True))


def rows(target: Any, chosen: Tensor) -> Any:
    """The targets of some inputs of a batch.

    Args:
        target: of B inputs, as it came.
        chosen: which, bool [B].

    Raises:
        ConversionError: targets that cannot be told apart by input.
    """
    if target is None:
        return None
    if isinstance(target, Mapping):
        return {name: rows(value, chosen) for name, value in target.items()}
    sized = isinstance(target, Tensor | np.ndarray | list | tuple) and np.ndim(target) != 0
    if sized and len(target) == len(chosen):
        if isinstance(target, Tensor):
            return target[chosen.to(target.device)]
        if isinstance(target, np.ndarray):
            return target[chosen.cpu().numpy()]
        return [one for one, wanted in zip(target, chosen.tolist(), strict=True) if wanted]
    raise ConversionError(
        f"the targets of a batch are {_kind(target)} for {len(chosen)} inputs, some of which are "
        "calibration images: they cannot be left out; pass other images, or keep_calibration=True"
    )


def _input_and_target(batch: Any, arguments: Sequence[str]) -> tuple[Any, Any]:
    if isinstance(batch, Mapping):
        return _by_name(batch, arguments)
    if isinstance(batch, tuple | list) and len(batch) > 0:
        return batch[0], batch[1] if len(batch) > 1 else None
    return batch, None


def _by_name(batch: Mapping[Any, Any], arguments: Sequence[str]) -> tuple[Any, Any]:
    named = [name for name in arguments if name in batch and name not in TARGET_NAMES][:1]
    named = named or [name for name in INPUT_NAMES if name in batch]
    if len(named) != 1:
        problem = "nothing" if not named else f"{' and '.join(map(repr, named))}"
        raise ConversionError(
            f"a batch is a dict with {sorted(map(str, batch))}, of which {problem} can be the "
            f"input; name it after the forward's argument{_quoted(arguments)} or one of "
            f"{', '.join(INPUT_NAMES)}"
        )
    targets = {name: batch[name] for name in TARGET_NAMES if name in batch}
    if len(targets) > 1:  # which of them is meant depends on who reads them
        return batch[named[0]], targets
    return batch[named[0]], next(iter(targets.values()), None)


def _quoted(names: Sequence[str]) -> str:
    return f" '{names[0]}'" if names else ""


def _is_single(target: Any) -> bool:
    """Whether a target is that of one image."""
    if isinstance(target, Tensor | np.ndarray):
        return target.ndim == 0
    return isinstance(target, int | float | np.generic | str)


def _is_one_pair(batches: Any) -> bool:
    """Whether data is (images, labels), which would be read as two batches."""
    if not isinstance(batches, tuple | list) or len(batches) != 2:
        return False
    x, y = batches
    arrays = isinstance(x, Tensor | np.ndarray) and isinstance(y, Tensor | np.ndarray)
    return arrays and x.ndim > 1 >= y.ndim and len(x) == len(y)


def _tensor(value: Any, what: str) -> Tensor | None:
    """An array or a tensor as a plain tensor; None for anything else."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiubc":
            raise ConversionError(f"{what} is a NumPy array of {value.dtype}; expected floats")
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    if not isinstance(value, Tensor):
        return None
    if value.layout != torch.strided or value.is_nested or value.is_quantized:
        raise ConversionError(f"{what} is a tensor of {value.layout}; expected a dense one")
    if type(value) in (Tensor, nn.Parameter):
        return value
    return value.as_subclass(Tensor)


def _check_type(x: Tensor) -> None:
    if x.is_floating_point():
        return
    advice = "pass floats prepared as in training, such as x.float()"
    if x.dtype == torch.uint8:
        advice = (
            "networks are trained on floats: pass (x.float() / 255 - mean) / std with the mean and "
            "std of the training, or let torchvision's ToTensor and Normalize do it"
        )
    raise ConversionError(
        f"the input is {x.dtype} {list(x.shape)}; expected a float tensor [B, ...]: {advice}"
    )


def _as_the_network(x: Tensor, like: Tensor) -> Tensor:
    if x.dtype != like.dtype and like.is_floating_point():
        warnings.warn(
            f"the input is {x.dtype} and the network {like.dtype}: it is cast",
            stacklevel=1,
        )
        x = x.to(like.dtype)
    return x if x.device == like.device else x.to(like.device)


def _class_indices(target: Any, classes: int) -> Tensor | None:
    if isinstance(target, list | tuple):
        target = _of_list(target)
    values = _tensor(target, "the target")
    if values is None or values.is_complex():
        return None
    if values.ndim == 2 and values.shape[1] == 1 and not values.is_floating_point():
        values = values[:, 0]
    if values.ndim == 1 and not values.is_floating_point():
        return values.long()
    if values.ndim == 2 and values.shape[1] == classes:
        one = ((values == 0) | (values == 1)).all() & (values.sum(1) == 1).all()
        return values.float().argmax(1) if bool(one) else None
    return None


def _of_list(values: Sequence[Any]) -> Any:
    """A list of numbers, of rows of numbers, or of such tensors, as one array; else None."""
    try:
        found = np.array([np.asarray(value) for value in values])
    except (TypeError, ValueError, RuntimeError):  # ragged, or something else than numbers
        return None
    return found if found.dtype.kind in "fiub" else None


def _kind(value: Any) -> str:
    """A value for an error: its type, with shapes, and what is in it."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {value.dtype}"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    if isinstance(value, tuple | list):
        inside = ", ".join(map(_kind, value[:3])) + (", …" if len(value) > 3 else "")
        return f"a {type(value).__name__} ({inside})"
    return f"a {type(value).__name__}"


def target_tensors(batch: Batch) -> Any:
    """The targets of a batch with tensors in the places of arrays and lists of numbers.

    All lie on the input's device, floating point ones have its type.
    """
    return _on(batch.target, batch.x)


def _on(value: Any, x: Tensor) -> Any:
    if isinstance(value, Mapping):
        return {name: _on(one, x) for name, one in value.items()}
    if isinstance(value, list | tuple):
        numbers = _of_list(value)
        if numbers is None:
            return [_on(one, x) for one in value]
        value = numbers
    tensor = _tensor(value, "the target")
    if tensor is None:
        return value
    return tensor.to(x.device, x.dtype if tensor.is_floating_point() else None)
