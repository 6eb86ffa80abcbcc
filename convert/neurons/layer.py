"""The layer that takes an activation's place: parameters per channel, the loop over timesteps."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.model import NeuronModel, State
from spikeport.convert.neurons.rules import NativeRule


class NeuronLayer(nn.Module):
    """A layer of neurons in the place of an activation ``clamp(x, low, high)``.

    Args:
        model: how it fires; for a range below 0 it is asked for ``both_signs``.
        channels: number of channels C of its input.
        low: lower end of the activation's range, <= 0: 0 for a ReLU, -inf for a linear quantity.
        high: upper end, >= 0: inf, or 6 for a ReLU6.
        channel_dim: where the channels stand in [B, ...]: 1, or -1 for [B, ..., C].

    Attributes:
        threshold: firing threshold θ, [C], activation units; nan until calibrated. A tensor of
            more dimensions, such as [C, H, W], holds one for every neuron and ties the network to
            one size of images.
        v0: membrane potential before the first timestep, shaped like a threshold.
        correction: current added to the input's, [K, C], activation units: row t at timestep t,
            nothing after K timesteps, so that the limit for many timesteps stays the source
            network. The analog reading does not know it. K = 0 until a bias pass sets it.
        step: value of a level of a quantised activation, [C]; empty where there are no levels.
        unit: value of 1 in threshold, potential, correction and current, activation units, shaped
            like a threshold, where these are whole numbers (``sp.quantize``); empty where they are
            activation units themselves.
        spike_value: value of one spike to what reads it, shaped like a threshold: 1 where spikes
            are counts; empty where it is the threshold.
    """

    op_name = "neuron"
    passes_gradients = False  # back from what it emits to its current

    def __init__(
        self,
        model: NeuronModel,
        channels: int,
        low: float = 0.0,
        high: float = math.inf,
        channel_dim: int = 1,
    ) -> None:
        super().__init__()
        if not low <= 0 <= high:
            raise ConversionError(f"the range [{low}, {high}] of a neuron has to contain 0")
        self.model = model if low == 0 else model.both_signs()
        self.low, self.high, self.channel_dim = float(low), float(high), channel_dim
        self.threshold = nn.Parameter(torch.full((channels,), math.nan), requires_grad=False)
        self.v0 = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.correction = nn.Parameter(torch.zeros(0, channels), requires_grad=False)
        self.step = nn.Parameter(torch.zeros(0), requires_grad=False)
        self.unit = nn.Parameter(torch.zeros(0), requires_grad=False)
        self.spike_value = nn.Parameter(torch.zeros(0), requires_grad=False)

    @property
    def channels(self) -> int:
        """Number of channels C, also where there is a threshold for every neuron."""
        return self.correction.shape[1]

    @property
    def max_up(self) -> int:
        """Most spikes in one timestep."""
        return self.model.max_up

    @property
    def max_down(self) -> int:
        """Most negative spikes in one timestep."""
        return self.model.max_down

    @property
    def integer(self) -> bool:
        """Whether threshold, potential and currents are whole numbers, in a unit."""
        return self.unit.numel() > 0

    @property
    def value(self) -> Tensor:
        """The value of one spike to what reads it, shaped like the threshold."""
        return self.spike_value if self.spike_value.numel() else self.threshold

    @property
    def levels(self) -> tuple[int, int] | None:
        """The lowest and the highest level of a quantised activation; None without levels."""
        if not self.step.numel():
            return None
        step = float(self.step.max())
        return round(self.low / step), round(self.high / step)

    def set_steps(self, step: Tensor) -> None:
        """Stand for ``step · clamp(floor(x / step + 1/2), …)`` with ends ``low`` and ``high``.

        Args:
            step: value of a level, [C].
        """
        self.step.data = step.to(self.threshold)
        self.fit_steps()

    def fit_steps(self) -> None:
        """The threshold and the potential with which T timesteps give the levels exactly.

        That is where T times the spikes of a timestep are the levels, and the currents are the same
        at every timestep: k spikes in T timesteps are k levels, for ``θ / 2 + T·I >= k·θ`` where
        ``I / step + 1/2 >= k``. For more timesteps the levels are finer than the activation's, and
        the limit is the activation before it was rounded. Nothing for one without levels.
        """
        if self.levels is not None:
            threshold = self.step.detach() * (max(map(abs, self.levels)) / self.max_up)
            self.threshold.data, self.v0.data = threshold, threshold / 2
            self.correction.data = threshold.new_zeros(0, self.channels)

    @property
    def native_rule(self) -> NativeRule | None:
        """The parameters for native code that does all that ``forward`` does; None if none does."""
        changed = type(self).forward is not NeuronLayer.forward or "forward" in vars(self)
        return None if changed else self.model.native_rule

    def analog(self, x: Tensor) -> Tensor:
        """The activation that the neurons stand for, of [B, ...]; of integer ones in spikes.

        Its gradient is that of the clamp, also where it has levels (straight through).
        """
        if self.integer:
            unit = self.per_channel(self.unit, x)
            rate = self._activation(x * unit) / (self.per_channel(self.threshold, x) * unit)
            return rate * self.per_channel(self.value, x)
        return self._activation(x)

    def _activation(self, x: Tensor) -> Tensor:
        clamped = x.clamp(self.low, self.high)
        if self.levels is None:
            return clamped
        step = self.per_channel(self.step, x)
        levels = step * (x / step + 0.5).floor().clamp(*self.levels)
        return clamped + (levels - clamped).detach()

    def forward(self, current: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over the timesteps of a chunk.

        Args:
            current: input current, [T, B, ...], activation units.
            state: where the last chunk ended; None to start at ``v0``.

        Returns:
            The emitted values (spikes times ``value``), [T, B, ...], in the currents' dtype, and
            the state after them. State and arithmetic are in float32 for half currents.
        """
        wide = self._state_type(current)
        like = current[0].to(wide)
        threshold, value = (self.per_channel(v, like) for v in (self.threshold, self.value))
        if state is None:
            state = self.start(like)
        lowest, highest = self._total_bounds(threshold)
        emitted = []
        for now in current:
            now = now.to(wide)
            if state.time < len(self.correction):
                now = now + self.per_channel(self.correction[state.time], now)
            out, state = self.model.step(now, state, threshold, lowest, highest)
            if self.integer:
                out = out / threshold * value  # spikes, exactly: a multiple of the threshold
            emitted.append(out.to(current.dtype))
        return (torch.stack(emitted) if len(emitted) > 1 else emitted[0][None]), state

    def events(self, emitted: Tensor, before: State | None) -> Tensor:
        """Events along the synapses for the emitted values, [T, B, ...], activation units.

        Args:
            emitted: of a chunk, from ``forward``.
            before: the state that ``forward`` was given.
        """
        wide = emitted.to(at_least_float32(emitted.dtype))
        value = self.per_channel(self.value, wide[0])
        events = self.model.events(wide, before or self.start(wide[0]), value)
        return events.to(emitted.dtype)

    def _state_type(self, current: Tensor) -> torch.dtype:
        """The dtype in which the potential is exact; float32 holds whole numbers of 24 bits."""
        rule = self.model.native_rule
        wider = rule is not None and (rule.potential_bits or 0) > 24
        return torch.float64 if wider else at_least_float32(current.dtype)

    def start(self, like: Tensor) -> State:
        """The state before the first timestep, for an input shaped like [B, ...]."""
        v = self.per_channel(self.v0, like).expand_as(like)
        bounded = self._total_bounds(self.per_channel(self.threshold, like)) != (None, None)
        counts = bounded or self.model.keeps_total
        return State(v, torch.zeros_like(like) if counts else None, 0)

    def per_channel(self, values: Tensor, like: Tensor) -> Tensor:
        """Shape [C] values so that they broadcast against [B, ...]; [C, ...] ones do already."""
        if values.ndim != 1 or like.ndim == 1:  # [B] has one channel
            return values.to(like.dtype)
        if like.shape[self.channel_dim] != len(values):
            raise ConversionError(
                f"a neuron layer has thresholds for {len(values)} channels and is given "
                f"{like.shape[self.channel_dim]}, because the input has another size; pass inputs "
                "of the same size as at conversion"
            )
        shape = [1] * like.ndim
        shape[self.channel_dim] = -1
        return values.view(shape).to(like.dtype)

    def _total_bounds(self, threshold: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Bounds of (running total / time) in spikes; None where capacity keeps it inside anyway.

        A ReLU's total never falls below 0 and a ReLU6's mean never exceeds 6: the memory of
        signed neurons, for any range.
        """
        below = self.max_down > 0 and self.low > -math.inf
        above = self.high < math.inf
        if not (below or above):
            return None, None
        slack = 1 + 1e-5
        if self.integer:
            alike = threshold.ndim == self.unit.ndim
            threshold = threshold * (self.unit if alike else self.per_channel(self.unit, threshold))
        low = self.low / threshold if below else None
        high = self.high / threshold if above else None
        if low is not None and not bool((-low * slack < self.max_down).any()):
            low = None
        if high is not None and not bool((high * slack < self.max_up).any()):
            high = None
        return low, high

    def extra_repr(self) -> str:
        """Shown by print(network)."""
        return f"{self.model.label}, range [{self.low:g}, {self.high:g}], {self.channels} channels"


def levels_per_timestep(layers: Iterable[NeuronLayer]) -> list[int | str]:
    """The numbers of values that layers' events can take, ascending; "unknown" comes last."""
    found = {layer.model.levels for layer in layers}
    known: list[int | str] = sorted(levels for levels in found if levels is not None)
    return [*known, "unknown"] if None in found else known


def why_not_native(layers: Iterable[NeuronLayer]) -> str | None:
    """Why native code has nothing to do in a network with these neurons; None if it has."""
    layers = list(layers)
    if not layers or any(layer.native_rule is not None for layer in layers):
        return None
    return f"there is no native code for {neuron_labels(layers)} neurons"


def neuron_labels(layers: Iterable[NeuronLayer]) -> str:
    """The names of layers' neurons for people, each once: "IF and signed (−1…1)"."""
    return " and ".join(sorted({layer.model.label for layer in layers}))


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums over time: a half holds none of many timesteps."""
    return torch.promote_types(dtype, torch.float32)
