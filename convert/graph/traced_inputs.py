"""The tensors that a network was traced with, which say what it takes."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from spikeport.convert.errors import ConversionError


@dataclass(frozen=True)
class TracedInput:
    """A placeholder of a graph.

    Attributes:
        name: of the forward's argument that it is, or is in.
        shape: [B, ...] of the example.
        dtype: of the example.
        largest: the largest number of an example of integers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    largest: int

    def random(self, rows: int, generator: torch.Generator, like: Tensor | None) -> Tensor:
        """Random numbers, [rows, ...]: normal ones, or token ids below the largest, or ones."""
        shape, device = (rows, *self.shape[1:]), None if like is None else like.device
        if self.dtype.is_floating_point:
            made = torch.randn(shape, generator=generator)
            return made if like is None else made.to(like)
        if self.largest <= 1:  # a mask that masks nothing
            return torch.ones(shape, dtype=self.dtype, device=device)
        ids = torch.randint(0, self.largest + 1, shape, generator=generator)
        return ids.to(device, self.dtype)

    def refusal(self, x: Tensor) -> ConversionError:
        """The error for an input of another shape."""
        advice = ""
        if x.ndim == len(self.shape) + 1:
            advice = ", or set network.encoding = 'frames' for [B, T, ...]"
        elif x.ndim == len(self.shape) - 1 and x.shape[:1] == self.shape[1:2]:
            advice = "; a single one is x[None], and a data set goes into a DataLoader"
        return ConversionError(
            f"the input has shape {list(x.shape)}; expected [B, "
            f"{', '.join(map(str, self.shape[1:]))}] as at conversion (a batch of any size)"
            + advice
        )

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)} of {self.dtype}"


def traced_inputs(graph: fx.Graph) -> list[TracedInput]:
    """The tensors that a converted network's graph takes, in order."""
    return [
        TracedInput(
            str(node.target),
            tuple(node.meta["shape"]),
            getattr(torch, node.meta.get("dtype", "float32")),
            node.meta.get("largest", 0),
        )
        for node in graph.nodes
        if node.op == "placeholder"
    ]


def require_like(traced: TracedInput, x: Tensor) -> bool:
    """Whether an input differs from the traced one in a size that may be that of channels.

    Raises:
        ConversionError: one of another type or another number of dimensions.
    """
    if x.ndim != len(traced.shape) or 0 in x.shape:
        raise traced.refusal(x)
    if x.is_floating_point() != traced.dtype.is_floating_point:
        raise ConversionError(
            f"the input is {x.dtype} {list(x.shape)}; expected a tensor of {traced.dtype} as at "
            f"conversion ('{traced.name}')"
        )
    return tuple(x.shape[1:2]) != traced.shape[1:2]
