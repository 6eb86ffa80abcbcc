"""A small network around each operation of the table, for every way of writing it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikeport.convert.graph.operations import spelling, table
from spikeport.convert.graph.operations.operation import Example, Operation

BATCH = 3
FRONT = {0: nn.Linear, 1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
IMAGES = {1: "1d", 2: "2d", 3: "3d"}


class Form(NamedTuple):
    """One way of writing one example of a row."""

    row: Operation
    name: str
    example: Example
    apply: Callable[..., Any] | type[nn.Module]

    def __str__(self) -> str:
        return f"{self.row.name}-{self.name}"


class Around(nn.Module):
    """A convolution and a ReLU before the operation; linear layers around a ReLU after it."""

    def __init__(self, form: Form, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.form, size = form, shape[0]
        dims = len(shape) - 1
        self.front = FRONT[dims](size, size, *([1] if dims else []))
        self.body, self.head = nn.LazyLinear(7), nn.Linear(7, 3)
        if isinstance(form.apply, type):
            self.layer = form.example.layer(form.apply)
            if isinstance(form.apply, type) and issubclass(form.apply, nn.RNNBase):
                self.layer.__class__ = form.apply.__mro__[2]  # torch's own, as people have it

    def forward(self, x: Tensor) -> Tensor:
        h = self.front(x).relu()
        subject = x if self.form.row.in_time == "fixed" else h
        y = self._applied(subject)
        if self.form.row.in_time == "fixed":
            y = h * (1 + _number(y, h))
        elif self.form.row.in_time == "shape":
            y = h + y
        return self.head(self.body(_first(y).flatten(1)).relu())

    def _applied(self, x: Tensor) -> Any:
        args = self.form.example.arguments(x)
        if isinstance(self.form.apply, type):
            tensors = [a for a in args if isinstance(a, Tensor)]
            found = self.layer(*(tensors if self.form.row.name in _TWO_INPUTS else args[:1]))
            return found[0] if isinstance(self.layer, nn.RNNBase) else found
        return self.form.apply(*args, **self.form.example.keywords)


_TWO_INPUTS = {"bilinear", "cosine_similarity"}


def _number(y: Any, like: Tensor) -> Any:
    """A factor, one for each image where there is one."""
    if not isinstance(y, Tensor):
        return 0.1 * y
    per_image = y.float().flatten(1).mean(1) if y.ndim > 1 else y.float()
    return 0.1 * per_image.reshape(-1, *[1] * (like.ndim - 1))


def _first(y: Any) -> Tensor:
    """All tensors of floats that the operation returned, joined."""
    if isinstance(y, Tensor):
        return y
    parts = [_first(one) for one in y if one is not None]
    return torch.cat([p.flatten(1) for p in parts if p.is_floating_point()], 1)


def forms() -> Iterator[Form]:
    """All ways of writing all examples of all rows."""
    for row in table.rows():
        for place, example in enumerate(row.examples):
            suffix = f"#{place}" if place else ""
            for cls in row.layers:
                if _fits(cls, example):
                    yield Form(row, f"{cls.__name__}{suffix}", example, cls)
            for name, apply in _functions(row):
                yield Form(row, f"{name}{suffix}", example, apply)


def _fits(cls: type[nn.Module], example: Example) -> bool:
    """Whether a layer for 1-D, 2-D or 3-D maps takes the example's shape."""
    name = cls.__name__
    dims = next((int(name[name.index(d)]) for d in IMAGES.values() if d in name), None)
    return dims is None or dims == len(example.shape) - 1 or "Dropout" in name


def _functions(row: Operation) -> Iterator[tuple[str, Callable[..., Any]]]:
    for bare in row.names:
        for written in (bare, f"{bare}_"):
            yield from spelling.functions_called(written).items()
            if hasattr(Tensor, written):
                yield f"x.{written}", _method(written)
        if bare == "getattr":
            yield "getattr", getattr


def _method(name: str) -> Callable[..., Any]:
    def call(x: Tensor, *args: Any, **keywords: Any) -> Any:
        return getattr(x, name)(*args, **keywords)

    return call


def network(form: Form) -> tuple[nn.Module, Tensor] | None:
    """The network and an input, [3, ...]; None if torch itself does not take the form."""
    torch.default_generator.manual_seed(0)  # torch.manual_seed formats a stack for every GPU
    shape = form.example.shape
    x = torch.randn(BATCH, *shape)
    try:
        net = Around(form, shape)
        with torch.no_grad():
            net(x)
            fine = bool(torch.isfinite(net(x)).all())
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError):
        return None
    return (net.eval(), x) if fine else None
