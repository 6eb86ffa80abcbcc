"""The interface of a kind of neuron: its facts, and the one update that makes it."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """The state of a neuron between two timesteps.

    Attributes:
        v: membrane potential, [B, ...], activation units.
        total: what was emitted so far, in thresholds, signed, [B, ...]; None where nothing needs
            it.
        time: timesteps so far.
        memory: what else a kind of neuron remembers, each [B, ...]; empty before the first
            timestep.
    """

    v: Tensor
    total: Tensor | None
    time: int
    memory: tuple[Tensor, ...] = ()


class NeuronModel(ABC):
    """A kind of neuron: a frozen dataclass with one method.

    Attributes:
        max_up: the largest event of one timestep, in thresholds, >= 1.
        max_down: the largest negative event of one timestep, in thresholds, >= 0.
        keeps_total: ``step`` needs ``State.total`` even where no bound does.
        native: the CPU engine knows it.
    """

    max_up: int
    max_down: int
    keeps_total = False
    native = False

    @property
    @abstractmethod
    def levels(self) -> int:
        """Values that one timestep's event can take, 0 included."""

    @abstractmethod
    def both_signs(self) -> "NeuronModel":
        """The neuron for a quantity that is not a ReLU's: as many spikes down as up."""

    @abstractmethod
    def step(
        self,
        current: Tensor,
        state: State,
        threshold: Tensor,
        lowest: Tensor | None = None,
        highest: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """One timestep: integrate, fire, reset. The definition that every backend repeats.

        Args:
            current: [B, ...], activation units.
            state: before the timestep.
            threshold: θ, broadcastable to the current.
            lowest: lower bound of the mean emission per timestep so far, in thresholds, or None.
            highest: upper bound of it, or None.

        Returns:
            The emitted values, [B, ...], activation units, and the state after the timestep.
        """

    def events(self, emitted: Tensor, before: State, threshold: Tensor) -> Tensor:
        """Events along the synapses for the emitted values, [t, B, ...], activation units.

        Args:
            emitted: of a chunk of timesteps, [t, B, ...].
            before: the state before the chunk.
            threshold: θ, broadcastable to [B, ...].
        """
        return emitted
