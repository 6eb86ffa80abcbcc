"""A training in epochs that may be stopped after any of them and goes on to the same numbers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler


class EpochTraining(ABC):
    """A network, its optimizer and its log, as one state that is saved after every epoch.

    A subclass says what an epoch is. Whatever it keeps from one epoch to the next beside these, it
    adds to ``state`` and takes back in ``restore``.

    Args:
        network: trained in place.
        optimizer: of its parameters.
        schedule: of the optimizer's learning rates.
        epochs: of the training.
        seed: of all random draws.

    Attributes:
        rows: the log, one dict for each epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        epochs: int,
        seed: int,
    ) -> None:
        self.network, self.optimizer, self.schedule = network, optimizer, schedule
        self.epochs, self.seed = epochs, seed
        self.rows: list[dict[str, float]] = []

    @abstractmethod
    def epoch(self) -> dict[str, float]:
        """Train for one more epoch; the columns that it adds to the log."""

    def over(self) -> bool:
        """Whether there is no epoch to come."""
        return len(self.rows) >= self.epochs

    def run(self, after_epoch: Callable[[], None]) -> None:
        """Train to the last epoch from wherever the state is.

        Args:
            after_epoch: called after every epoch, to save the state.
        """
        while not self.over():
            number, began = len(self.rows) + 1, time.monotonic()
            # A seed per epoch makes the generator's state a function of the epoch: a run that was
            # stopped draws the same numbers without any of it being saved.
            self.reseed(self.seed * 10007 + number)
            rate = float(self.optimizer.param_groups[0]["lr"])
            row = {"epoch": number, "learning_rate": rate} | self.epoch()
            self.rows.append(row | {"seconds": time.monotonic() - began})
            after_epoch()

    def reseed(self, seed: int) -> None:
        """Set all generators that an epoch draws from."""
        torch.manual_seed(seed)

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rows": self.rows,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state of a training of the same kind."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.rows = list(state["rows"])
