"""The number of timesteps of each training step."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from spikeport.convert import ConversionError
from spikeport.convert.simulation.run import require_timesteps


@dataclass(frozen=True)
class Curriculum:
    """One T, several in turn at random, or a T that falls from epoch to epoch.

    Attributes:
        choices: T, or several of which each step draws one, so that the network is good at all of
            them (mixed timestep training, Du et al. 2025, "Temporal Flexibility in SNNs").
        anneal_from: the T of the first epochs, from which it falls to the smallest choice by 1 in
            stages of equal length, each from the weights of the one before (temporal pruning,
            Chowdhury et al. 2022, "Towards Ultra Low Latency Spiking Neural Networks"). None: not.
    """

    choices: tuple[int, ...]
    anneal_from: int | None = None

    @staticmethod
    def of(timesteps: int | Sequence[int], anneal_from: int | None) -> "Curriculum":
        """From the arguments of a call.

        Raises:
            ConversionError: no or bad timesteps, or annealing that does not go down to one T.
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
        return Curriculum(choices, anneal_from)

    @property
    def first(self) -> int:
        """The T that thresholds are fitted for: the first, or the largest of several."""
        return self.anneal_from or self.choices[-1]

    def of_epoch(self, epoch: int, epochs: int, steps: int, seed: int) -> list[int]:
        """T of every step of an epoch, the same in every process.

        Args:
            epoch: from 0.
            epochs: in all.
            steps: of the epoch.
            seed: of the draws.
        """
        if self.anneal_from is not None:
            stages = range(self.anneal_from, self.choices[0] - 1, -1)
            return [stages[min(epoch * len(stages) // epochs, len(stages) - 1)]] * steps
        draws = random.Random(f"{seed} {epoch}")
        return [draws.choice(self.choices) for _ in range(steps)]
