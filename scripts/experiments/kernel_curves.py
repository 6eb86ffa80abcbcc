"""One layer over time and over density, and the bytes that it has to move."""

from collections.abc import Callable
from typing import Any

Shape = tuple[int, int, int, int, int]
Measure = Callable[[Shape, float, int], dict[str, Any]]  # (shape, density, timesteps) to a row

SHAPES: list[Shape] = [(128, 128, 28, 3, 1), (256, 256, 14, 1, 1), (192, 192, 28, 3, 192)]
TIMES = (8, 16, 32, 64, 128, 256)
DENSITIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
FIXED_DENSITY, FIXED_TIMESTEPS = 0.1, 32


def traffic(shape: Shape, timesteps: int, batch: int) -> float:
    """Bytes that a layer moves at least, each once.

    Packed spikes in and out (a bit each), float32 weights in, float32 potentials out.
    Weights and potentials that do not stay in the cache between timesteps come on top.
    """
    inputs, outputs, size, kernel, groups = shape
    positions = batch * size * size
    spikes = (inputs + outputs) * positions * timesteps / 8
    return spikes + 4 * outputs * (inputs // groups * kernel * kernel + positions)


def add_traffic(row: dict[str, Any], timesteps: int) -> dict[str, Any]:
    """Put ``bytes`` and ``bytes_per_second`` into a row of ``measure``; returns it."""
    row["timesteps"] = timesteps
    row["bytes"] = traffic(tuple(row["shape"]), timesteps, row["batch"])
    row["bytes_per_second"] = row["bytes"] / (row["milliseconds"] / 1e3)
    return row


def curves(measure: Measure) -> dict[str, list[dict[str, Any]]]:
    """Milliseconds over T at one density, and over density at one T."""
    return {
        "over_time": [
            add_traffic(measure(shape, FIXED_DENSITY, time), time)
            for shape in SHAPES
            for time in TIMES
        ],
        "over_density": [
            add_traffic(measure(shape, density, FIXED_TIMESTEPS), FIXED_TIMESTEPS)
            for shape in SHAPES
            for density in DENSITIES
        ],
    }
