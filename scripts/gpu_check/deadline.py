"""A point in time after which nothing new is begun."""

import time
from collections.abc import Callable


class Deadline:
    """Counts down from its making.

    Args:
        seconds: until it is over.
        clock: seconds, ascending.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; 0 when it is over."""
        return max(0.0, self._end - self._clock())

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long would be done in time."""
        return 0 < self.left >= seconds

    def share(self, parts: int) -> "Deadline":
        """An equal part of what is left, the first of ``parts``."""
        return Deadline(self.left / parts, self._clock)
