"""Several inputs of a network, or one that is no tensor of floats, as one batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Signature:
    """The arguments of a network's forward, which say what a batch is.

    Attributes:
        arguments: names of the forward's arguments.
        required: names of those without a default: a tuple holds so many inputs. A converted
            network requires the arguments that it was converted with.
        more: whether the forward takes arguments of other names too.
        options: a converted network's arguments that are no tensors, by name.
        converted: whether it is a converted network's, which takes no others than ``required``.
        integers: whether a single input may consist of integers with three dimensions or more.
    """

    arguments: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    more: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    converted: bool = False
    integers: bool = False


class Inputs:
    """Arguments of a forward as one batch, which can be taken apart by rows as a tensor can.

    Args:
        values: tensors [B, ...], or tuples, lists and dicts of them, by the argument's name, in the
            order of the forward's arguments.
        positional: the number of them, from the first, that are passed without their names.
        options: arguments that are no tensors, by name.
    """

    def __init__(
        self, values: Mapping[str, Any], positional: int = 0, options: Mapping[str, Any] = {}
    ) -> None:
        self.values, self.positional, self.options = dict(values), positional, dict(options)

    def tensors(self) -> list[Tensor]:
        """All tensors, in order."""
        return pytree.tree_leaves(self.values)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments and keyword arguments of a call."""
        items = list(self.values.items())
        args = tuple(value for _, value in items[: self.positional])
        return args, dict(items[self.positional :]) | self.options

    def map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        """The inputs with a function of every tensor in its place."""
        values = {name: pytree.tree_map(function, value) for name, value in self.values.items()}
        return Inputs(values, self.positional, self.options)

    def __len__(self) -> int:
        return len(self.tensors()[0])

    def __getitem__(self, rows: Any) -> "Inputs":
        """Some rows: a slice, indices [n] or bool [B]."""
        return self.map(lambda value: value[rows])

    def split(self, rows: int) -> Iterator["Inputs"]:
        """Batches of so many rows, and one with the rest."""
        for first in range(0, len(self), rows):
            yield self[first : first + rows]

    def clone(self) -> "Inputs":
        """A copy of each tensor."""
        return self.map(Tensor.clone)

    def detach(self) -> "Inputs":
        """The same values without gradients."""
        return self.map(Tensor.detach)

    def double(self) -> "Inputs":
        """The floating point tensors in float64."""
        return self.map(lambda value: value.double() if value.is_floating_point() else value)

    def to(self, device: torch.device) -> "Inputs":
        """The inputs on another device."""
        return self.map(lambda value: value.to(device))

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.tensors()[0].device


Input = Tensor | Inputs


def tensors_of(x: Input) -> list[Tensor]:
    """The tensors of a network's input, in the order of its graph's placeholders."""
    return [x] if isinstance(x, Tensor) else x.tensors()


def call(network: Callable[..., Any], x: Input) -> Any:
    """Call a network on its input, which it may write into: pass ``x.clone()`` then."""
    if isinstance(x, Tensor):
        return network(x)
    args, kwargs = x.arguments()
    return network(*args, **kwargs)


def joined(parts: Sequence[Any]) -> Any:
    """Batches as one, [sum of B, ...]."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    leaves = zip(*(part.tensors() for part in parts), strict=True)
    cat = iter([torch.cat(same) for same in leaves])
    return parts[0].map(lambda _: next(cat))


def shapes(x: Input) -> str:
    """The shapes of an input, for messages."""
    if isinstance(x, Tensor):
        return str(list(x.shape))
    found = []
    for name, value in x.values.items():
        found += [f"{name} {list(leaf.shape)}" for leaf in pytree.tree_leaves(value)]
    return ", ".join(found)


def sizes(x: Input) -> tuple[Any, ...]:
    """The shape of one row, [C, ...]; of several inputs one for each."""
    if isinstance(x, Tensor):
        return tuple(x.shape[1:])
    return tuple(tuple(value.shape[1:]) for value in x.tensors())
