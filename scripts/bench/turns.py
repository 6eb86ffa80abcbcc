"""Timing of several functions that take turns, so that a busy machine slows all of them."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

PAUSE = 0.05  # seconds; torch's threads spin for some milliseconds after their last work


def medians(
    functions: Sequence[Callable[[], Any]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of each function, median of the repeats after one to warm up."""
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats + 1):
        for function, times in zip(functions, taken, strict=True):
            time.sleep(PAUSE)
            start = clock()
            function()
            times.append(clock() - start)
    return [statistics.median(times[1:]) for times in taken]
