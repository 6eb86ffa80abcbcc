"""Biases that come with the spikes they belong to."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from spikeport.calibration.layerwise import LayerwisePass, NeuronView
from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input
from spikeport.convert.simulation.run import Run


@dataclass(frozen=True)
class BiasOnset(LayerwisePass):
    """Scales each layer's bias at every timestep by the share of its input that arrives then.

    Spikes reach a deep layer late, while its bias b is there from the first timestep on: after T
    timesteps its potential is that of a layer with a larger bias. With the least-squares share
    ``ρ_t = Σ (I_t − b)·(z − b) / Σ (z − b)²`` of the source's current z that arrives at timestep
    t (over a layer's channels, positions and images; I_t is the spiking network's current), the
    correction ``(ρ_t − 1)·b`` makes it ``Σ_t ρ_t·z``: since ReLU networks are positively
    homogeneous, the start-up is then a scaled copy of the source network, with the same answer.
    Ours; it estimates one number per layer and timestep, so it reads 12 images, and writes
    ``neuron.correction``. A ``timesteps`` smaller than the T of use, but longer than spikes take
    through the network, does as well: later ones get all of their bias.
    """

    enough = 12

    def begin(
        self, network: SpikingNetwork, images: Input, memory: dict[str, dict[str, Any]]
    ) -> None:
        """Note each layer's bias."""
        for name, bias in _Silent(network, images[:1], None).biases().items():
            memory.setdefault(name, {})["bias"] = bias

    def adjust(self, view: NeuronView) -> None:
        """Add this portion to the layer's sums."""
        neuron, bias = view.neuron, view.memory["bias"]
        shaped = neuron.per_channel(bias, view.source_current)
        part = view.source_current - shaped
        arrived = torch.stack([((now - shaped) * part).sum() for now in view.current])
        view.memory["arrived"] = view.memory.get("arrived", 0.0) + arrived
        view.memory["whole"] = view.memory.get("whole", 0.0) + part.square().sum()
        share = view.memory["arrived"] / view.memory["whole"].clamp_min(1e-30)
        neuron.correction.data = (share[:, None] - 1) * bias


class _Silent(Run):
    """A timestep in which no neuron fires."""

    def biases(self) -> dict[str, Tensor]:
        """Each neuron layer's current then, the mean of each channel, [C], by graph node."""
        self.found: dict[str, Tensor] = {}
        self.advance(1)
        return self.found

    def _in_time(self, node: fx.Node, values: dict[fx.Node, Any], steps: int) -> Any:
        if node.meta["role"] != "neuron":
            return super()._in_time(node, values, steps)
        current = self._unfold(node.args[0], values, steps)[0]
        channel = self.network.neuron(str(node.target)).channel_dim % current.ndim
        others = [dim for dim in range(current.ndim) if dim != channel]
        self.found[node.name] = current.mean(others) if others else current
        return torch.zeros_like(current)
