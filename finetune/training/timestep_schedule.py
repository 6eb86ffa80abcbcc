"""The number of timesteps of each training step."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from spikeport.convert import ConversionError
from spikeport.convert.simulation.timesteps import require_timesteps


@dataclass(frozen=True)
class TimestepSchedule:
    """T of every step: one, several in turn at random, or one that falls from epoch to epoch.

    Attributes:
        choices: T, or several of which each step draws one, so that the network is good at all of
            them (mixed timestep training, Du et al. 2025, "Temporal Flexibility in SNNs").
        epochs: of the training.
        anneal_from: the T of the first epochs, from which it falls to the smallest choice by 1 in
            stages of equal length, each from the weights of the one before (temporal pruning,
            Chowdhury et al. 2022, "Towards Ultra Low Latency Spiking Neural Networks"). None: not.
    """

    choices: tuple[int, ...]
    epochs: int = 1
    anneal_from: int | None = None

    def __post_init__(self) -> None:
        require_count("epochs", self.epochs)

    @staticmethod
    def of(
        timesteps: int | Sequence[int], epochs: int = 1, anneal_from: int | None = None
    ) -> "TimestepSchedule":
        """The schedule of a call with these arguments.

        Raises:
            ConversionError: no or bad timesteps or epochs, or annealing that does not go down to
                one T.
        """
        several = timesteps if isinstance(timesteps, Sequence) else [timesteps]
        choices = tuple(sorted({require_timesteps(each) for each in several}))
        if not choices:
            raise ConversionError("timesteps is empty; pass a number, or several as in (1, 2, 4)")
        if anneal_from is not None and (
            len(choices) > 1 or require_timesteps(anneal_from) <= choices[0]
        ):
            raise ConversionError(
                f"anneal_from={anneal_from} with timesteps={timesteps!r}; expected one number of "
                "timesteps and a larger one to start from"
            )
        return TimestepSchedule(choices, epochs, anneal_from)

    @property
    def first(self) -> int:
        """The T that thresholds are fitted for: the first, or the largest of several."""
        return self.anneal_from or self.choices[-1]

    def of_epoch(self, epoch: int, steps: int, seed: int) -> list[int]:
        """T of every step of an epoch, the same in every process.

        Args:
            epoch: from 0.
            steps: of the epoch.
            seed: of the draws.
        """
        if self.anneal_from is not None:
            stages = range(self.anneal_from, self.choices[0] - 1, -1)
            return [stages[min(epoch * len(stages) // self.epochs, len(stages) - 1)]] * steps
        draws = random.Random(f"{seed} {epoch}")
        return [draws.choice(self.choices) for _ in range(steps)]


def require_count(name: str, value: object) -> int:
    """The value of an argument; raises ConversionError where it is no int >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConversionError(f"{name} is {value!r}; expected an int >= 1")
    return value
