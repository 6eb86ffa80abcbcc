"""Relative errors of a network's outputs, each by itself."""

from collections.abc import Hashable, Iterable
from typing import Any

from torch import Tensor

from spikeport.convert.outputs import named_tensors


class OutputErrors:
    """Sums of squares over the batches, for each output and each of some networks or T.

    Attributes:
        source: squares of the source's values, by output.
        difference: squared differences from them, by key and output.
    """

    def __init__(self, keys: Iterable[Hashable]) -> None:
        self.source: dict[str, float] = {}
        self.difference: dict[Hashable, dict[str, float]] = {key: {} for key in keys}

    def add_source(self, source: Any) -> None:
        """Note the source's outputs on a batch: a tensor or a structure of tensors."""
        for name, value in named_tensors(source).items():
            self.source[name] = self.source.get(name, 0.0) + _square(value)

    def add(self, key: Hashable, outputs: Any, source: Any) -> None:
        """Note outputs of the same batch and form as the source's."""
        sums, expected = self.difference[key], named_tensors(source)
        for name, value in named_tensors(outputs).items():
            sums[name] = sums.get(name, 0.0) + _square(value - expected[name])

    def relative(self, key: Hashable) -> dict[str, float]:
        """Root of the squared difference over the source's squares, by output."""
        return {
            name: (self.difference[key][name] / max(square, 1e-30)) ** 0.5
            for name, square in self.source.items()
        }

    def row(self, key: Hashable) -> dict[str, Any]:
        """The errors as entries of a row: the worst one, and all of them."""
        found = self.relative(key)
        return {"output_error": max(found.values(), default=0.0), "output_errors": found}

    @property
    def sums(self) -> list[float]:
        """All sums in a fixed order, to be added over processes."""
        return [value for one in self._all() for value in one.values()]

    @sums.setter
    def sums(self, values: Iterable[float]) -> None:
        places = iter(values)
        for one in self._all():
            one.update({name: next(places) for name in one})

    def _all(self) -> list[dict[str, float]]:
        return [self.source, *self.difference.values()]


def _square(value: Tensor) -> float:
    return float(value.double().square().sum())
