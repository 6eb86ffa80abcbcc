"""A batch of data: what may be one, and what the network and the labels are in it.

Every verb takes its data through this file. A batch is a tensor [B, ...]; a tuple or list with it
first and what belongs to it (labels, masks, boxes) second; or a dict with the input under the name
of the forward's argument or one of INPUT_NAMES, and what belongs to it under one of TARGET_NAMES.
NumPy arrays are taken for tensors.

A network of several inputs takes a dict of them by the names of the forward's arguments, or a
tuple. (a, b) are two inputs where the forward has two arguments without a default, or where the
network was converted with two; otherwise b belongs to a. (a, b, y) and ((a, b), y) are two inputs
and what belongs to them, (dict, y) is a dict of inputs and what belongs to it.
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
from spikeport.convert.arguments import arguments_and_target, kind_of
from spikeport.convert.errors import ConversionError
from spikeport.convert.inputs import Input, Inputs, Signature, shapes, tensors_of

NO_SIGNATURE = Signature()
EXPECTED = "a float tensor [B, ...], (tensor, targets) or a dict of them, as a DataLoader gives it"


class Batch(NamedTuple):
    """One batch, taken apart.

    Attributes:
        x: the network's input, [B, ...], in the network's type and on its device: a tensor, or
            ``Inputs`` where there are several, or another argument than the forward's first.
        target: what came with it, as it came: labels, masks, boxes; None where nothing did.
    """

    x: Input
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
                f"{shapes(self.x)}, batch first); pass one label for each"
            )
        if len(labels) and int(labels.max()) >= classes:
            raise ConversionError(
                f"a batch has the label {int(labels.max())}, but the network has {classes} "
                f"classes, 0 to {classes - 1}; number the labels as the network does, or pass the "
                "inputs alone"
            )
        return labels.to(self.x.device)


def take_apart(
    batch: Any, signature: Signature = NO_SIGNATURE, like: Tensor | None = None
) -> Batch:
    """Find the network's input in a batch, and what came with it.

    Args:
        batch: see above.
        signature: of the network's forward.
        like: a tensor of the network's type, on its device; by default the input stays as it is.

    Raises:
        ConversionError: anything else, or an input that is of no usable type or not finite.
    """
    first, *rest = batch if isinstance(batch, tuple) and batch else (batch,)
    if isinstance(first, Inputs):  # taken apart before
        return Batch(first, rest[0] if rest else None)
    given, target = arguments_and_target(batch, signature)
    found = {name: _tensors(value, name, batch) for name, value in given.values.items()}
    if _is_single(target):
        raise ConversionError(
            f"a batch is {kind_of(batch)}: one item of a data set; pass "
            "DataLoader(dataset, batch_size=32), which makes batches [B, ...] of them"
        )
    x = Inputs(found, given.positional, given.options)
    alone = len(found) == 1 and given.positional == 1 and not given.options
    single = alone and isinstance(next(iter(found.values())), Tensor)
    for value in x.tensors():
        _check_type(value, single, signature)
    if like is not None:
        x = x.map(lambda value: _as_the_network(value, like))
    for value in x.tensors():
        # a mask that is added to scores hides what it gives -infinity
        right = torch.isfinite(value) if alone else torch.isfinite(value) | torch.isneginf(value)
        if not bool(right.all()):
            raise ConversionError("the input holds NaN or infinite values; check the images")
    # where no gradient is recorded anyway, one that the input wants decides on no backend
    x = x if torch.is_grad_enabled() else x.detach()
    if single:
        return Batch(x.tensors()[0], target)
    _check_rows(x)
    return Batch(x, target)


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
        f"the targets of a batch are {kind_of(target)} for {len(chosen)} inputs, some of which are "
        "calibration images: they cannot be left out; pass other images, or keep_calibration=True"
    )


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


def _tensors(value: Any, name: str, batch: Any) -> Any:
    """An argument with tensors in the places of arrays."""
    if isinstance(value, tuple | Mapping):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        found = {key: _tensors(one, name, batch) for key, one in items}
        return found if isinstance(value, Mapping) else tuple(found.values())
    tensor = _tensor(value, "the input")
    if tensor is None:
        raise ConversionError(f"a batch is {kind_of(batch)}; expected {EXPECTED}")
    return tensor


def _check_type(x: Tensor, single: bool, signature: Signature) -> None:
    """Refuse integers that can be neither token ids nor masks."""
    tokens = signature.integers or (x.ndim < 3 and not signature.converted)
    tokens = tokens and x.dtype in (torch.int64, torch.int32)
    if x.is_floating_point() or (tokens if single else not x.is_complex()):
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


def _check_rows(x: Inputs) -> None:
    """Refuse inputs without a row for each example of the batch."""
    if any(value.ndim == 0 or len(value) != len(x) for value in x.tensors()):
        raise ConversionError(
            f"the inputs of a batch are {shapes(x)}; expected [B, ...] with the same B for each: "
            "expand what is the same for all, or make it a buffer of the network"
        )


def _as_the_network(x: Tensor, like: Tensor) -> Tensor:
    cast = x.is_floating_point() and like.is_floating_point() and x.dtype != like.dtype
    if cast:
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


def target_tensors(batch: Batch) -> Any:
    """The targets of a batch with tensors in the places of arrays and lists of numbers.

    All lie on the input's device, floating point ones have its type.
    """
    floats = [value for value in tensors_of(batch.x) if value.is_floating_point()]
    like = floats[0] if floats else torch.zeros((), device=batch.x.device)
    return _on(batch.target, like)


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
