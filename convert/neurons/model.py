"""The neuron model: one update in time, and the capabilities that its class declares."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.inheritance import withdraw
from spikeport.convert.neurons.packing import EVENTS
from spikeport.convert.neurons.rules import NativeRule, Staircase

HOME = __name__.rpartition(".")[0]


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


class Capabilities:
    """The capabilities of a neuron model, with defaults that promise nothing.

    A class that changes the update (redefines ``step`` or a method that an inherited ``step`` may
    call) inherits none of these: it declares them again, or has the defaults.

    Attributes:
        lossless: what is emitted is what leaves the potential, and nothing else does: the decode
            identity ``mean(out) = mean(I) − (v_T − v_0)/T`` holds, and the output converges to the
            source network's.
        takes_back: negative spikes take back what was sent too early, as soon as it shows.
        ternary: a timestep emits -1, 0 or 1 spikes and nothing else.
        time_to_first_spike: it can follow an input whose late spikes correct the early ones.
        sends_corrections: an event corrects a mean that sender and receiver keep; ``events`` tells
            it from the emitted value.
        packings: the ways in which its events can travel, of ``packing.EVENTS``. Whatever it
            emits can travel as a packet with a payload.
        syntax: how the command line spells it, with an explanation: "mt:N, N thresholds …".
    """

    lossless: bool = False
    takes_back: bool = False
    ternary: bool = False
    time_to_first_spike: bool = False
    sends_corrections: bool = False
    packings: tuple[str, ...] = ("packet",)
    syntax: ClassVar[str] = ""

    @property
    def levels(self) -> int | None:
        """Number of values that one timestep's event can take, 0 included; None if not known."""
        return None

    @property
    def native_rule(self) -> NativeRule | None:
        """Parameters for native code that does the same as ``step``; None if there is none."""
        return None

    @property
    def label(self) -> str:
        """The name of the neuron for people, such as "IF" or "signed (−1…1)"."""
        return constructor_call(self)

    @property
    def text(self) -> str:
        """The text that ``parse`` reads as this neuron, "" if none."""
        return ""

    @classmethod
    def parse(cls, text: str) -> "NeuronModel | None":
        """The neuron of this class that a text of the command line means, None if it means none.

        Raises:
            ConversionError: a text in this class's form with values that cannot be.
        """
        return None

    @classmethod
    def kinds(cls) -> dict[str, "NeuronModel"]:
        """Names for neurons of this class: they become names in ``KINDS``."""
        return {}

    def reach(self, timesteps: int) -> tuple[float, float]:
        """The least and the largest mean emission over T timesteps, in thresholds.

        It says nothing of the bounds of an activation. Infinite where not known.
        """
        return -float("inf"), float("inf")

    def staircase(self) -> Staircase | None:
        """Spikes over the potential, for fine-tuning; None where they depend on more than it."""
        return None

    def summed(self, timesteps: int) -> "NeuronModel | None":
        """The neuron that fires in one timestep what this one fires in T, given the sum of their
        currents; None if there is none."""
        return None

    def correction(self, u: Tensor) -> Tensor | None:
        """Spikes that correct a mean that is u thresholds off; None if it cannot.

        ``Differential`` asks it of its coder. A last spike has to fire at three quarters of the
        threshold: if it fired at a whole one, a positive and a negative one would alternate for
        ever.
        """
        return None

    def with_levels(self, levels: int) -> "NeuronModel":
        """The same kind of neuron with ``levels`` as its largest event, in thresholds.

        Raises:
            ConversionError: there is none.
        """
        raise ConversionError(
            f"a {type(self).__name__}, which declares no with_levels, so that its levels cannot be "
            "chosen; use a neuron such as neuron='multi-level'"
        )

    def events_of(self, spikes: Tensor, packing: str) -> Tensor:
        """The number of events that carry each graded spike, shaped like the spikes.

        Args:
            spikes: in thresholds, of either sign; as ``events`` gives them, divided by θ.
            packing: a name in ``packing.EVENTS``.

        Raises:
            ConversionError: these neurons' events cannot travel so.
        """
        if packing not in self.packings:
            raise ConversionError(
                f"the events of {self.label} neurons cannot be packed as {packing!r}; expected "
                f"{' or '.join(map(repr, self.packings))}"
            )
        return EVENTS[packing](spikes)


class NeuronModel(Capabilities, ABC):
    """A kind of neuron: a frozen dataclass with one method, ``step``, and its capabilities.

    A class in a file of this folder, or of your own, is all that a new neuron needs. Defining it
    makes it known to files and, by ``kinds`` and ``parse``, to ``to_snn`` and the command line. Its
    capabilities are those that it declares; see ``Capabilities``.

    Attributes:
        max_up: the largest event of one timestep, in thresholds, >= 1.
        max_down: the largest negative event of one timestep, in thresholds, >= 0.
        keeps_total: ``step`` needs ``State.total`` even where no bound does.
        kind: name of the class in files: its own for a class of this folder, with the module's for
            others unless the class sets one.

    Raises:
        ConversionError: a class is defined with a ``kind`` that another class has.
    """

    max_up: int
    max_down: int
    keeps_total: bool = False
    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        withdraw(cls, Capabilities)
        inside = cls.__module__.startswith(f"{HOME}.")
        usual = cls.__name__ if inside else f"{cls.__module__}.{cls.__qualname__}"
        cls.kind = vars(cls).get("kind", usual)
        other = CLASSES.get(cls.kind)
        if other is not None and _place(other) != _place(cls):  # defined again is replaced
            raise ConversionError(
                f"the neuron model {_place(cls)} has the kind {cls.kind!r} of {_place(other)}; set "
                "another: kind = …"
            )
        CLASSES[cls.kind] = cls

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
            lowest: lower bound of the mean emission over the timesteps so far and this one, in
                thresholds, or None.
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

    def count(self, u: Tensor) -> Tensor:
        """Spikes that a potential of u thresholds gives, without bounds, shaped like u.

        A model with a ``staircase`` has one; ``step`` and fine-tuning call it.
        """
        raise NotImplementedError(f"{type(self).__name__}.count")

    def toward_zero(self, spikes: Tensor) -> Tensor:
        """The largest event that the neuron can send and that is not beyond ``spikes``."""
        return spikes.trunc()


CLASSES: dict[str, type[NeuronModel]] = {}  # every neuron model that has been defined, by its kind


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def constructor_call(model: Any) -> str:
    """A dataclass's repr without the fields that are as usual."""
    fields = getattr(model, "__dataclass_fields__", {})
    values = [(name, getattr(model, name), field.default) for name, field in fields.items()]
    shown = [f"{name}={value!r}" for name, value, usual in values if value != usual]
    return f"{type(model).__name__}({', '.join(shown)})" if shown else type(model).__name__
