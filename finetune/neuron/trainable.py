"""Neurons that can be trained, in the places of a converted network's, and the way back."""

import copy
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert import ConversionError, NeuronLayer, SpikingNetwork
from spikeport.convert.graph.memory_format import takes_channels_last
from spikeport.convert.graph.nodes import place
from spikeport.convert.neurons import State
from spikeport.convert.neurons.layer import at_least_float32
from spikeport.finetune.neuron.scan import scan
from spikeport.finetune.neuron.scan_step import ChunkStart, FiringRule, Scanned
from spikeport.finetune.neuron.staircase import Staircase
from spikeport.finetune.neuron.surrogates import Surrogate

LEAST_LEAK = 0.05


class TrainableNeuron(NeuronLayer):
    """A layer of neurons with a derivative and positive parameters.

    It emits the very values of the neuron that it was made from (but for the rounding of a
    logarithm and a quotient, and back), in the current's type. A hard reset passes no gradient of
    the spike on.

    Args:
        source: the layer whose place it takes.
        surrogate: the derivative of its spikes.
        learn_leak: train a factor on the potential, from the present one (Diet-SNN, Rathi & Roy
            2020; parametric LIF, Fang et al. 2021).

    Attributes:
        log_threshold: log θ, shaped like θ.
        potential: v0/θ, shaped like θ: the initial potential keeps its place below the threshold
            when this moves.
        correction: as in ``NeuronLayer``.
        leak: factor on the potential before each timestep, a scalar in (0, 1]; None where the
            neuron model has none.
        hard_reset: a neuron that fires loses all of its potential.
        width: of the surrogate at present, in thresholds.
        compiled: by ``torch.compile``.
        online: the potential passes no gradient back in time (SLTT, OTTT).
        traced: with ``online``, gradients reach v0 and corrections by their traces (OTTT).

    Raises:
        ConversionError: a kind of neuron that has no surrogate.
    """

    passes_gradients = True

    def __init__(self, source: NeuronLayer, surrogate: Surrogate, learn_leak: bool) -> None:
        nn.Module.__init__(self)
        self.model, self.low, self.high = source.model, source.low, source.high
        self.channel_dim = source.channel_dim
        self.staircase, self.surrogate = Staircase.of(source.model), surrogate
        self.width = surrogate.width_at(0)
        self.compiled = self.online = self.traced = False
        theta = source.threshold.detach()
        self.log_threshold = nn.Parameter(theta.log())
        self.potential = nn.Parameter(source.v0.detach() / theta)
        self.correction = nn.Parameter(source.correction.detach().clone())
        # of the activation, which training does not change
        self.step = nn.Parameter(source.step.detach().clone(), requires_grad=False)
        self.unit, self.spike_value = source.unit, source.spike_value  # of integer networks
        self.leak: nn.Parameter | None = None
        fires = source.model.staircase()
        assert fires is not None  # or Staircase.of had refused it
        self.hard_reset = fires.hard_reset
        if fires.leak is not None:
            self.leak = nn.Parameter(theta.new_tensor(fires.leak), requires_grad=learn_leak)

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]
        """θ, activation units."""
        return self.log_threshold.exp()

    @property
    def v0(self) -> Tensor:  # type: ignore[override]
        """Potential before the first timestep, activation units."""
        return self.threshold * self.potential

    @property
    def bounded(self) -> bool:
        """Whether memory of its spikes may hold others back, whatever the threshold."""
        below = self.low > 0 or (self.low > -math.inf and self.max_down > 0)
        return below or self.high < math.inf

    @torch.no_grad()
    def project(self) -> None:
        """Bring the leak back into its range; call it after a step of the optimiser."""
        if self.leak is not None and self.leak.requires_grad:
            self.leak.clamp_(LEAST_LEAK, 1)

    def forward(self, current: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over the timesteps of a chunk; see ``NeuronLayer.forward``."""
        found, state = self.fire(current, state)
        return found.emitted, state

    def fire(self, current: Tensor, state: State | None) -> tuple[Scanned, State]:
        """Run over the timesteps of a chunk.

        Args:
            current: [t, B, ...], activation units.
            state: where the last chunk ended; None at the start.

        Returns:
            What they gave, and the state after them.
        """
        like = current[0].to(at_least_float32(current.dtype))
        threshold = self.per_channel(self.threshold, like)
        state = self.start(like) if state is None else state
        state = _cut(state) if self.online else state
        rule = FiringRule(self.staircase, self.surrogate, self.width, self.hard_reset)
        if self.traced:
            times = range(state.time, state.time + len(current))
            current = current + torch.stack([self._credit(t, like) for t in times])
        start = ChunkStart(
            self._corrections(like, state.time, len(current)),
            threshold,
            self._factor(),
            state.v,
            state.total,
            *self._total_bounds(threshold.detach()),
        )
        found = scan(current, start, state.time, rule, self.compiled)
        return found, State(found.v, found.total, state.time + len(current))

    def fire_at_once(self, current: Tensor, timesteps: int) -> Scanned:
        """Give the spikes of all timesteps in one, as under the same current in each of them.

        Args:
            current: [1, B, ...], activation units.
            timesteps: T.

        Returns:
            ``emitted``, [1, B, ...], and ``spikes`` as means over the T timesteps.
        """
        summed = self.model.summed(timesteps)
        assert summed is not None  # ``finetune`` has refused others
        like = current[0].to(at_least_float32(current.dtype))
        threshold, state = self.per_channel(self.threshold, like), self.start(like)
        rule = FiringRule(Staircase.of(summed), self.surrogate, self.width, False)
        correction = self.per_channel(self.correction[:timesteps].sum(0), like)[None]
        bounds = self._total_bounds(threshold.detach())
        low, high = (None if bound is None else timesteps * bound for bound in bounds)
        start = ChunkStart(correction, threshold, None, state.v, state.total, low, high)
        found = scan(timesteps * current, start, 0, rule, self.compiled)
        emitted, spikes = found.emitted / timesteps, found.spikes / timesteps
        return found._replace(emitted=emitted, spikes=spikes)

    def _total_bounds(self, threshold: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return super()._total_bounds(threshold) if self.bounded else (None, None)

    def _corrections(self, like: Tensor, time: int, steps: int) -> Tensor | None:
        """Corrections after timestep ``time``, like [t, B, ...]; None if all are over."""
        rows = self.correction[time : time + steps]
        if not len(rows):
            return None
        zeros = rows.new_zeros(steps - len(rows), *rows.shape[1:])
        return torch.stack([self.per_channel(row, like) for row in torch.cat([rows, zeros])])

    def _factor(self) -> Tensor | None:
        """The leak, if it does anything."""
        if self.leak is None or (self.leak.item() == 1 and not self.leak.requires_grad):
            return None
        return self.leak

    def _credit(self, time: int, like: Tensor) -> Tensor:
        """0, with the gradient that earlier timesteps owe to v0 and to corrections."""
        leak = 1.0 if self.leak is None else self.leak.item()
        # at the first timestep the potential itself passes the gradient on
        past = self.v0 * leak ** (time + 1) if time else torch.zeros_like(self.v0)
        for before, row in enumerate(self.correction[:time]):
            past = past + row * leak ** (time - before)
        past = self.per_channel(past, like)
        return past - past.detach()

    def plain(self) -> NeuronLayer:
        """The layer for inference and for files, with the trained numbers."""
        model: Any = self.model
        if self.leak is not None:
            model = replace(model, leak=min(1.0, self.leak.item()))
        layer = NeuronLayer(model, self.channels, self.low, self.high, self.channel_dim)
        layer.model = model  # both signs were seen to before
        for name, _ in layer.named_parameters():
            value = getattr(self, name).detach().clone()
            setattr(layer, name, nn.Parameter(value, requires_grad=False))
        return layer


def _cut(state: State) -> State:
    if state.time == 0:  # v0 is a parameter
        return state
    return State(
        state.v.detach(), None if state.total is None else state.total.detach(), state.time
    )


def make_trainable(
    network: SpikingNetwork, surrogate: Surrogate, learn_leak: bool = False
) -> SpikingNetwork:
    """A copy of a network whose weights, thresholds and initial potentials can be trained.

    Args:
        network: calibrated; stays as it is.
        surrogate: the derivative of a spike.
        learn_leak: train one leak for each layer.

    Raises:
        ConversionError: an uncalibrated network, or neurons that cannot be trained; the layer is
            named.
    """
    network.check_calibrated()
    if any(neuron.integer for neuron in network.neurons.values()):
        raise ConversionError(
            "an integer network cannot be fine-tuned: its weights and thresholds are whole "
            "numbers; fine-tune the network that it was quantized from, then quantize that"
        )
    result = copy.deepcopy(network)
    result.backend = "torch"
    result.requires_grad_(True)
    for name, neuron in network.neurons.items():
        try:
            place(result, name, TrainableNeuron(neuron, surrogate, learn_leak))
        except ConversionError as cause:
            raise ConversionError(f"layer '{name}': {cause}") from cause
    for module in result.modules() if takes_images_channels_last(result) else ():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):  # of few channels: half of the time
            module.to(memory_format=torch.channels_last)
    return result


def takes_images_channels_last(network: nn.Module) -> bool:
    """Whether maps of a trainable network may lie with channels innermost in memory."""
    return all(map(takes_channels_last, network.modules()))


def plain(network: SpikingNetwork) -> SpikingNetwork:
    """A copy of a trainable network as a converted one: frozen, for every backend, to be saved."""
    result = copy.deepcopy(network)
    for name, neuron in trainable_neurons(result).items():
        place(result, name, neuron.plain())
    result.backend = "auto"
    return result.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()


def trainable_neurons(network: SpikingNetwork) -> dict[str, TrainableNeuron]:
    """The neuron layers of a trainable network by name."""
    found = network.neurons.items()
    return {name: layer for name, layer in found if isinstance(layer, TrainableNeuron)}
