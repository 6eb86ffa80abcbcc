"""Neurons that can be trained, in the places of a converted network's, and the way back."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from spikeport.convert import ConversionError, Neuron, SpikingNetwork, SpikingNeuron
from spikeport.convert.graph import place
from spikeport.convert.neurons import State
from spikeport.finetune.staircase import Staircase, fire
from spikeport.finetune.surrogates import Surrogate

LEAST_POTENTIAL = 1e-3  # in thresholds; a logarithm has no 0
LEAST_LEAK = 0.05


class TrainableNeuron(SpikingNeuron):
    """A layer of neurons with a derivative and positive parameters.

    It emits the very values of the neuron that it was made from (but for the rounding of a
    logarithm and back), whatever type the current has. A hard reset passes no gradient of the
    spike on.

    Args:
        source: the layer whose place it takes.
        surrogate: the derivative of its spikes.
        learn_leak: train a factor on the potential, from the present one (Diet-SNN, Rathi & Roy
            2020; parametric LIF, Fang et al. 2021).

    Attributes:
        log_threshold: log θ, shaped like θ.
        log_potential: log v0/θ, shaped like θ: the initial potential keeps its place below the
            threshold when this moves.
        correction: as in ``SpikingNeuron``; trained with the biases.
        leak: factor on the potential before each timestep, a scalar in (0, 1]; None where the kind
            of neuron has none.
        width: of the surrogate at present, in thresholds.
        online: the potential passes no gradient back in time (SLTT, OTTT).
        traced: with ``online``, gradients reach v0 and corrections by their traces (OTTT).

    Raises:
        ConversionError: a kind of neuron that has no surrogate, or a negative initial potential.
    """

    def __init__(self, source: SpikingNeuron, surrogate: Surrogate, learn_leak: bool) -> None:
        nn.Module.__init__(self)
        if bool((source.v0 < 0).any()):
            raise ConversionError(
                "an initial potential is negative, and potentials are trained by their logarithm; "
                'fine-tune with recipe="default", or run InitialPotential() first'
            )
        self.spec, self.low, self.high = source.spec, source.low, source.high
        self.channel_dim = source.channel_dim
        self.staircase, self.surrogate = Staircase.of(source.spec), surrogate
        self.width = surrogate.width_at(0)
        self.online = self.traced = False
        theta = source.threshold.detach()
        potential = (source.v0.detach() / theta).clamp_min(LEAST_POTENTIAL)
        self.log_threshold = nn.Parameter(theta.log())
        self.log_potential = nn.Parameter(potential.log())
        self.correction = nn.Parameter(source.correction.detach().clone())
        leaky = isinstance(source.spec, Neuron)
        leak = torch.tensor(source.spec.leak if isinstance(source.spec, Neuron) else 1.0).to(theta)
        self.leak = nn.Parameter(leak, requires_grad=learn_leak) if leaky else None

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]
        """θ, activation units."""
        return self.log_threshold.exp()

    @property
    def v0(self) -> Tensor:  # type: ignore[override]
        """Potential before the first timestep, activation units."""
        return (self.log_threshold + self.log_potential).exp()

    @torch.no_grad()
    def project(self) -> None:
        """Bring the leak back into its range; call it after a step of the optimiser."""
        if self.leak is not None and self.leak.requires_grad:
            self.leak.clamp_(LEAST_LEAK, 1)

    def forward(self, current: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over the timesteps of a chunk; see ``SpikingNeuron.forward``."""
        emitted, _, state = self.fire(current, state)
        return emitted, state

    def fire(self, current: Tensor, state: State | None) -> tuple[Tensor, Tensor, State]:
        """Run over the timesteps of a chunk.

        Args:
            current: [t, B, ...], activation units.
            state: where the last chunk ended; None at the start.

        Returns:
            The emitted values, activation units, and the potentials before firing, in thresholds,
            both [t, B, ...]; the state after them.
        """
        current = current.to(self.log_threshold.dtype)
        threshold = self.per_channel(self.threshold, current[0])
        state = self.start(current[0]) if state is None else state
        bounds = self._total_bounds(threshold.detach())
        emitted, potentials = [], []
        for now in current:
            if self.online:
                state = _cut(state)
            if state.time < len(self.correction):
                now = now + self.per_channel(self.correction[state.time], now)
            if self.traced:
                now = now + self._credit(state.time, now)
            out, u, state = self._step(now, state, threshold, bounds)
            emitted.append(out)
            potentials.append(u)
        return torch.stack(emitted), torch.stack(potentials), state

    def _step(
        self,
        now: Tensor,
        state: State,
        threshold: Tensor,
        bounds: tuple[Tensor | None, Tensor | None],
    ) -> tuple[Tensor, Tensor, State]:
        """One timestep, line for line that of the kind of neuron; the potential in thresholds."""
        v = (state.v if self.leak is None else state.v * self.leak) + now
        time, total = state.time + 1, state.total
        low = high = None
        if total is not None:
            low = None if bounds[0] is None else torch.ceil(bounds[0] * time - 1e-3) - total
            high = None if bounds[1] is None else torch.floor(bounds[1] * time + 1e-3) - total
        u = v / threshold
        spikes = fire(self.staircase, self.surrogate, self.width, u, low, high)
        total = None if total is None else total + spikes
        taken = spikes.detach() if self.surrogate.detach_reset else spikes
        if isinstance(self.spec, Neuron) and self.spec.hard_reset:
            after = torch.where(taken != 0, torch.zeros_like(v), v)
        else:
            after = v - taken * threshold
        return spikes * threshold, u, State(after, total, time)

    def _credit(self, time: int, like: Tensor) -> Tensor:
        """0, with the gradient that earlier timesteps owe to v0 and to corrections."""
        leak = 1.0 if self.leak is None else float(self.leak)
        # at the first timestep the potential itself passes the gradient on
        past = self.v0 * leak ** (time + 1) if time else torch.zeros_like(self.v0)
        for before, row in enumerate(self.correction[:time]):
            past = past + row * leak ** (time - before)
        past = self.per_channel(past, like)
        return past - past.detach()

    def plain(self) -> SpikingNeuron:
        """The layer for inference and for files, with the trained numbers."""
        spec = self.spec
        if isinstance(spec, Neuron) and self.leak is not None:
            spec = replace(spec, leak=min(1.0, float(self.leak)))
        layer = SpikingNeuron(spec, self.channels, self.low, self.high, self.channel_dim)
        layer.spec = spec  # both signs were seen to before
        for name in ("threshold", "v0", "correction"):
            value = getattr(self, name).detach().clone()
            setattr(layer, name, nn.Parameter(value, requires_grad=False))
        return layer


def _cut(state: State) -> State:
    if state.time == 0:  # v0 is a parameter
        return state
    return State(
        state.v.detach(), None if state.total is None else state.total.detach(), state.time
    )


def trainable(
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
    result = copy.deepcopy(network)
    result.backend = "torch"
    result.requires_grad_(True)
    for name, neuron in network.neurons.items():
        try:
            place(result, name, TrainableNeuron(neuron, surrogate, learn_leak))
        except ConversionError as cause:
            raise ConversionError(f"layer '{name}': {cause}") from cause
    return result


def plain(network: SpikingNetwork) -> SpikingNetwork:
    """A copy of a trainable network as a converted one: frozen, for every backend, to be saved."""
    result = copy.deepcopy(network)
    for name, neuron in trainable_neurons(result).items():
        place(result, name, neuron.plain())
    result.backend = "auto"
    return result.requires_grad_(False).eval()


def trainable_neurons(network: SpikingNetwork) -> dict[str, TrainableNeuron]:
    """The neuron layers of a trainable network by name."""
    found = network.neurons.items()
    return {name: layer for name, layer in found if isinstance(layer, TrainableNeuron)}
