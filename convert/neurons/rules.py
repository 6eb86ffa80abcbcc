"""Descriptions of an update, for native code and for fine-tuning."""

from typing import NamedTuple


class NativeRule(NamedTuple):
    """The update that the CPU engine and the GPU kernels have in native code.

    ``v = leak·v + I; n = clip(floor(v / θ), −max_down, max_up)``, limited by the running total's
    bounds; ``v −= n·θ``, or with a hard reset ``v = 0`` where n is not 0. With ``potential_bits``
    ``leak·v`` and ``I`` are rounded to whole numbers, half to even, and their sum stays within
    −2^(bits − 1) … 2^(bits − 1) − 1.
    """

    max_up: int
    max_down: int
    leak: float = 1.0
    hard_reset: bool = False
    potential_bits: int | None = None


class Step(NamedTuple):
    """A place where the number of spikes changes.

    Attributes:
        place: u = v/θ.
        below: spikes below it.
        above: spikes above it.
    """

    place: float
    below: int
    above: int


class Staircase(NamedTuple):
    """Spikes of one timestep as a function of the potential alone: what can be fine-tuned.

    The potential after it is ``leak·v + I − n·θ``, or 0 after a spike with a hard reset. The
    function itself is the model's ``count``, and ``toward_zero`` where a bound leaves less.

    Attributes:
        steps: ascending.
        leak: factor on the potential before each timestep; None where the model has no field
            ``leak`` that could be trained.
        hard_reset: a neuron that fires loses all of its potential.
    """

    steps: tuple[Step, ...]
    leak: float | None = None
    hard_reset: bool = False
