"""Emissions of a layer in a chunk, for those who watch a run."""

from collections.abc import Callable

from torch import Tensor


class Emitted:
    """Emissions of a neuron layer, or of a max-pool of spikes, in a chunk.

    Args:
        values: [t, B, ...].
        first: number of timesteps before the chunk.

    Attributes:
        first: see above.
        timesteps: t.
        portion: timesteps that are best asked for at once.
    """

    def __init__(self, values: Tensor, first: int) -> None:
        self._values, self.first = values, first
        self.timesteps = self.portion = len(values)

    def values(self, begin: int = 0, end: int | None = None) -> Tensor:
        """Emitted at timesteps [begin, end) of the chunk, [t, B, ...], activation units."""
        return self._values[begin:end]

    def counts(
        self,
        quantum: Tensor | None,
        begin: int = 0,
        end: int | None = None,
        by_channel: bool = True,
    ) -> Tensor:
        """Spikes, up or down, at timesteps [begin, end) of the chunk in all images together.

        Args:
            quantum: value of one spike at each position, [C, ...]; None where there is none, and
                every non-zero value counts as one spike.
            begin: first timestep.
            end: after the last one; by default all.
            by_channel: False adds up the channels, which is quicker.

        Returns:
            Of any type, [C, ...] or without C; whole numbers up to rounding.
        """
        values = self._values[begin:end]
        if quantum is None:
            found = (values != 0).sum((0, 1))
        else:
            found = values.abs().sum((0, 1)).double() / quantum
        return found if by_channel else found.sum(0)


Watcher = Callable[[str, Emitted], None]  # called with the layer's name
Observer = Callable[[str, Tensor, int], None]  # with the name, the values, timesteps before them


def values_to(observe: Observer) -> Watcher:
    """A watcher that passes the values on, a portion at a time."""

    def watch(name: str, emitted: Emitted) -> None:
        for begin in range(0, emitted.timesteps, emitted.portion):
            end = min(begin + emitted.portion, emitted.timesteps)
            observe(name, emitted.values(begin, end), emitted.first + begin)

    return watch
