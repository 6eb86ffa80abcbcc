"""Encodings of an input as a current in time: constant, Poisson, first spikes, event frames."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input
from spikeport.convert.neurons.fields import require_integer


class Presentation(ABC):
    """One batch on its way into the network.

    Args:
        x: the batch as the network is given it.

    Attributes:
        time: timesteps presented so far.
    """

    def __init__(self, x: Tensor) -> None:
        self.x, self.time = x, 0

    def advance(self, steps: int) -> tuple[Tensor, Tensor]:
        """The currents of the next timesteps and the spikes that brought them, [t, B, C, ...]."""
        found = self._next(steps)
        self.time += steps
        return found

    @abstractmethod
    def _next(self, steps: int) -> tuple[Tensor, Tensor]:
        """See ``advance``."""

    def keep(self, rows: Tensor) -> None:
        """Go on with some images of the batch only."""
        self.x = self.x[rows]


class Encoding(ABC):
    """A way to present an input; a frozen dataclass.

    Attributes:
        spiking: the input consists of spikes, and the first layer only accumulates.
        single: no more than one spike, up or down, per value and timestep.
        period: timesteps after which the mean of the current is the input.
    """

    spiking = False
    single = False
    period = 1

    @abstractmethod
    def present(self, x: Any) -> Presentation | None:
        """Start to present a batch; None for a current that never changes."""

    def batch(self, x: Any) -> Any:
        """One timestep's worth of a batch, [B, C, ...]: its size, type and device."""
        return x

    def still(self, x: Any, timesteps: int) -> Any:
        """The constant input with the same mean over T timesteps, [B, C, ...]."""
        return x

    def check(self, network: SpikingGraph, x: Input, timesteps: int) -> None:
        """Raise ConversionError where this network, input or number of timesteps does not suit."""
        self.require_one_input(network)
        network.check_input(x)

    def require_one_input(self, network: SpikingGraph) -> None:
        """Raise ConversionError for a network with several inputs, or one of token ids."""
        inputs = network.inputs
        if len(inputs) > 1 or not inputs[0].dtype.is_floating_point:
            raise ConversionError(
                f"encoding '{self}' presents one input of floats; the network takes "
                f"{', '.join(map(str, inputs))}: use encoding 'constant'"
            )

    def check_readout(self, wanted: Sequence[int]) -> None:
        """Raise ConversionError where some T cuts a period in two."""
        broken = [time for time in wanted if time % self.period]
        if broken:
            raise ConversionError(
                f"timesteps {broken[0]}: with {self} the input is complete after every "
                f"{self.period} timesteps only; ask for multiples of {self.period}, or set "
                "another encoding"
            )


@dataclass(frozen=True)
class Constant(Encoding):
    """The input is a current that is the same at every timestep (Rueckauer et al. 2017)."""

    def present(self, x: Input) -> None:
        """The input as it is."""
        return

    def require_one_input(self, network: SpikingGraph) -> None:
        """A constant current may be of anything."""

    def __str__(self) -> str:
        return "constant current"


@dataclass(frozen=True)
class Poisson(Encoding):
    """Random spikes: each value is a rate, its sign the spikes' sign.

    A spike stands for the largest magnitude of its image; a value of that size fires at every
    timestep, half of it at every second one on average. The mean over time goes to the input like
    1/√T. Every image sees the same random numbers, so what becomes of it depends neither on the
    batch around it nor on the chunks.

    Attributes:
        seed: of the random numbers; the same in every call.
    """

    seed: int = 0
    spiking = single = True

    def __post_init__(self) -> None:
        require_integer("Poisson", "seed", self.seed, 0)

    def present(self, x: Tensor) -> Presentation:
        """See ``Encoding.present``."""
        return _PoissonSpikes(x, self.seed)

    def __str__(self) -> str:
        return f"Poisson spikes, seed {self.seed}"


class _PoissonSpikes(Presentation):
    def __init__(self, x: Tensor, seed: int) -> None:
        super().__init__(x)
        self.generator = torch.Generator().manual_seed(seed)

    def _next(self, steps: int) -> tuple[Tensor, Tensor]:
        largest = _largest(self.x)
        rates = (self.x / largest).abs()
        how: Any = {"generator": self.generator, "dtype": torch.float32, "device": "cpu"}
        drawn = [torch.rand(self.x.shape[1:], **how) for _ in range(steps)]
        fires = torch.stack(drawn).to(rates)[:, None] < rates
        spikes = fires * (self.x.sign() * largest)
        return spikes, spikes


@dataclass(frozen=True)
class TimeToFirstSpike(Encoding):
    """One spike per value and window: the larger the magnitude, the earlier.

    After its spike an input is a constant current to the end of the window, as large as the
    largest magnitude of the image (the ramp of Rueckauer & Liu 2018, "Conversion of analog to
    spiking neural networks using sparse temporal coding"); windows follow each other. The mean
    over whole windows is the input rounded to ``window`` levels of either sign. Late spikes
    correct what neurons sent before them, so these have to fire both signs, without leak.

    Attributes:
        window: timesteps.
    """

    window: int = 8
    spiking = single = True

    def __post_init__(self) -> None:
        require_integer("TimeToFirstSpike", "window", self.window, 1)

    @property
    def period(self) -> int:  # type: ignore[override]
        """A window."""
        return self.window

    def present(self, x: Tensor) -> Presentation:
        """See ``Encoding.present``."""
        return _FirstSpikes(x, self.window)

    def check(self, network: SpikingGraph, x: Any, timesteps: int) -> None:
        """See ``Encoding.check``."""
        super().check(network, x, timesteps)
        for name, neuron in network.neurons.items():
            if not neuron.model.time_to_first_spike:
                raise ConversionError(
                    f"layer '{name}' has {neuron.model.label} neurons; time to first "
                    "spike needs neurons that take back what they sent too early, without leak and "
                    "with soft reset, such as neuron='signed' or 'multi-level'; convert with one "
                    "of these, or use 'constant'"
                )

    def __str__(self) -> str:
        return f"time to first spike, windows of {self.window} timesteps"


class _FirstSpikes(Presentation):
    def __init__(self, x: Tensor, window: int) -> None:
        super().__init__(x)
        self.window = window

    def _next(self, steps: int) -> tuple[Tensor, Tensor]:
        largest = _largest(self.x)
        lasts = (self.x / largest).abs().mul(self.window).round()  # timesteps that it is on
        times = torch.arange(self.time, self.time + steps, device=self.x.device) % self.window
        left = (self.window - times).to(self.x.dtype).view(-1, *[1] * self.x.ndim)
        value = self.x.sign() * largest
        return (left <= lasts) * value, (left == lasts) * value


@dataclass(frozen=True)
class EventFrames(Encoding):
    """The input is given for every timestep, as from an event camera (DVS).

    Attributes:
        layout: "BT" for [B, T, C, ...], as data loaders give it, or "TB" for [T, B, C, ...]. It is
            never guessed: where B = T the wrong one would mix images.
        unit: value of one event, or None where the frames are analog. With a unit every value has
            to be a whole multiple of it, and the first layer is charged accumulates.
    """

    unit: float | None = None
    layout: Literal["BT", "TB"] = "BT"

    def __post_init__(self) -> None:
        if self.layout not in ("BT", "TB"):
            raise ConversionError(
                f"EventFrames.layout is {self.layout!r}; expected 'BT' for [B, T, C, ...] or 'TB' "
                "for [T, B, C, ...]"
            )
        if self.unit is not None and not 0 < self.unit < math.inf:
            raise ConversionError(f"EventFrames.unit is {self.unit!r}; expected a value above 0")

    @property
    def spiking(self) -> bool:  # type: ignore[override]
        """Whether the frames are events of one size."""
        return self.unit is not None

    def present(self, x: Tensor) -> Presentation:
        """See ``Encoding.present``."""
        return _Frames(self._by_time(x))

    def batch(self, x: Tensor) -> Tensor:
        """The first frame of each image."""
        return self._by_time(x)[0]

    def still(self, x: Tensor, timesteps: int) -> Tensor:
        """The mean of the first T frames."""
        return self._by_time(x)[:timesteps].mean(0)

    def _by_time(self, x: Tensor) -> Tensor:
        """The frames as [T, B, C, ...]."""
        return x.transpose(0, 1) if self.layout == "BT" else x

    def check(self, network: SpikingGraph, x: Any, timesteps: int) -> None:
        """See ``Encoding.check``."""
        self.require_one_input(network)
        expected = ", ".join(map(str, network.traced_shape[1:]))
        order, other = ("[B, T, ", "TB") if self.layout == "BT" else ("[T, B, ", "BT")
        if x.ndim != len(network.traced_shape) + 1 or 0 in x.shape:
            raise ConversionError(
                f"the input is {list(x.shape)}; with encoding 'frames' a tensor {order}{expected}] "
                "is expected, a frame for every timestep"
            )
        network.check_input(x.flatten(0, 1))
        frames = len(self._by_time(x))
        if frames < timesteps:
            swapped = x.numel() // x[0, 0].numel() // frames >= timesteps
            raise ConversionError(
                f"the input {list(x.shape)}, {order}…], has {frames} frames for {timesteps} "
                "timesteps; pass more frames or ask for fewer timesteps"
                + (f", or say EventFrames(layout='{other}')" if swapped else "")
            )
        if self.unit is not None and not bool((x / self.unit % 1 == 0).all()):
            raise ConversionError(
                f"the frames hold values that are no whole multiples of the unit {self.unit:g}; "
                "pass EventFrames(unit=…) with the value of one event, or EventFrames()"
            )

    def __str__(self) -> str:
        kind = "analog" if self.unit is None else f"events of {self.unit:g}"
        return f"event frames, {kind}, {'[B, T]' if self.layout == 'BT' else '[T, B]'}"


class _Frames(Presentation):
    def _next(self, steps: int) -> tuple[Tensor, Tensor]:
        frames = self.x[self.time : self.time + steps]
        return frames, frames

    def keep(self, rows: Tensor) -> None:
        """See ``Presentation.keep``."""
        self.x = self.x[:, rows]


def _largest(x: Tensor) -> Tensor:
    """The largest magnitude of each image, shaped to broadcast; 1 for an empty one."""
    found = x.abs().flatten(1).amax(1)
    return torch.where(found > 0, found, torch.ones_like(found)).view(-1, *[1] * (x.ndim - 1))


ENCODINGS: dict[str, Encoding] = {
    "constant": Constant(),
    "poisson": Poisson(),
    "ttfs": TimeToFirstSpike(),
    "frames": EventFrames(),
}


_CLASSES = {type(encoding).__name__: type(encoding) for encoding in ENCODINGS.values()}


def describe_encoding(encoding: Encoding) -> dict[str, Any]:
    """An encoding for a file, JSON-able; raises ConversionError for a class from elsewhere."""
    kind = type(encoding).__name__
    if _CLASSES.get(kind) is not type(encoding):
        raise ConversionError(
            f"the encoding {encoding!r} cannot be saved; expected one of {sorted(_CLASSES)}"
        )
    return {"kind": kind} | vars(encoding)


def make_encoding(record: dict[str, Any]) -> Encoding:
    """The encoding that ``describe_encoding`` described."""
    options = dict(record)
    return _CLASSES[options.pop("kind")](**options)


def input_encoding(encoding: str | Encoding) -> Encoding:
    """The encoding behind a name; one is returned as it is. Raises ConversionError otherwise."""
    if isinstance(encoding, Encoding):
        return encoding
    if not isinstance(encoding, str) or encoding not in ENCODINGS:
        raise ConversionError(
            f"unknown encoding {encoding!r}; expected one of {sorted(ENCODINGS)} or an object such "
            "as Poisson(seed=1)"
        )
    return ENCODINGS[encoding]
