"""Batch norms that live while a network is trained, and are folded into the weights after."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.graph.nodes import place
from spikeport.convert.inputs import Input
from spikeport.finetune.distributed import moments
from spikeport.finetune.gradient.through_time import present, present_at_once
from spikeport.finetune.neuron.trainable import TrainableNeuron

NORMS = ("folded", "batch", "threshold")
EPSILON = 1e-5
MOMENTUM = 0.1
WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)
Weighted = nn.modules.conv._ConvNd | nn.Linear


class NormedLayer(nn.Module):
    """A weighted layer and a batch norm over images, positions and timesteps.

    At first the norm changes nothing: its gain and offset are those of its running statistics. In
    training mode it takes the statistics of the batch, of all processes together.

    With a neuron it is the threshold-dependent one (tdBN) of Zheng et al. 2021, "Going Deeper With
    Directly-Trained Larger Spiking Neural Networks", with their α = 1:
    ``gain·θ·(x − mean)/√(variance + ε) + offset``.

    Args:
        name: of the layer, for messages.
        layer: convolution or linear layer, [B, C, ...] or [B, C] out. Its bias is trained no more:
            the offset does what it did.
        mean: of its outputs, [C]: the running mean at the start.
        variance: of its outputs, [C].
        neuron: what reads it, for tdBN; None for a plain batch norm.

    Attributes:
        gain: [C].
        offset: [C], activation units.
        mean: running mean, [C].
        variance: running variance, [C].
        quick: in float32, too, by torch's kernel where one process trains.
    """

    mean: Tensor
    variance: Tensor
    quick = False

    def __init__(
        self,
        name: str,
        layer: Weighted,
        mean: Tensor,
        variance: Tensor,
        neuron: TrainableNeuron | None,
    ) -> None:
        super().__init__()
        self.name, self.layer = name, layer
        if layer.bias is not None:
            layer.bias.requires_grad_(False)
        self._neuron = (neuron,)  # the tuple hides from torch what the network has already
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.offset = nn.Parameter(mean.clone())
        self.gain = nn.Parameter((variance + EPSILON).sqrt())
        self.gain.data /= self._unit()

    def forward(self, input: Tensor) -> Tensor:
        """[T·B, ...] to what the layer gives, normalised.

        Raises:
            ConversionError: one value for a channel, which has no variance.
        """
        y, gain = self.layer(input), self.gain * self._unit()
        if self.training:
            self._check(y)
        if processes.count() == 1 and (self.quick or y.dtype != self.mean.dtype):
            # It rounds otherwise than statistics of several processes; in float32 that turns
            # single spikes over, and one process no longer gives exactly what two do.
            running = self.mean, self.variance, gain, self.offset
            return F.batch_norm(y, *running, self.training, MOMENTUM, EPSILON)
        mean, variance = self._of_batch(y) if self.training else (self.mean, self.variance)
        scale = gain / (variance + EPSILON).sqrt()
        shape = [1, -1] + [1] * (y.ndim - 2)
        return y * scale.view(shape) + (self.offset - mean * scale).view(shape)

    @torch.no_grad()
    def folded(self) -> Weighted:
        """The layer with the norm's running statistics in its weights, changed in place."""
        scale = self.gain * self._unit() / (self.variance + EPSILON).sqrt()
        bias = 0 if self.layer.bias is None else self.layer.bias
        bias = (bias - self.mean) * scale + self.offset
        self.layer.weight.mul_(scale.view([-1] + [1] * (self.layer.weight.ndim - 1)))
        self.layer.bias = nn.Parameter(bias, requires_grad=False)
        return self.layer

    def _of_batch(self, y: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance, count = moments(y.to(self.mean.dtype))
        with torch.no_grad():
            self.mean.lerp_(mean, MOMENTUM)
            self.variance.lerp_(variance * (count / (count - 1)), MOMENTUM)
        return mean, variance

    def _check(self, y: Tensor) -> None:
        if processes.count() * y.numel() < 2 * y.shape[1]:
            raise ConversionError(
                f"layer '{self.name}': a batch of one image has no variance at T=1; pass larger "
                "batches (drop_last=True in a DataLoader leaves a rest out)"
            )

    def _unit(self) -> Tensor:
        """θ for each channel where the neurons have the same channels, else its mean."""
        [neuron] = self._neuron
        if neuron is None:
            return torch.ones_like(self.mean)
        by_channel = neuron.threshold.reshape(len(neuron.threshold), -1).mean(1)
        return by_channel if len(by_channel) == len(self.mean) else by_channel.mean()


def keep_norms(
    network: SpikingNetwork,
    batches: Sequence[Input],
    timesteps: int,
    norm: str,
    quantized: bool = False,
) -> None:
    """Put a batch norm behind every convolution and linear layer that a neuron reads, in place.

    The statistics at the start are those of a run, so that the network gives what it gave before.
    Left as they are: transposed convolutions, linear layers on tokens, layers with a weight that is
    used twice.

    Args:
        network: trainable.
        batches: images, [B, C, ...] each, to run on; of every process its share.
        timesteps: T of the run.
        norm: "batch", or "threshold" for tdBN.
        quantized: the run is ``present_at_once``.

    Raises:
        ConversionError: no layer for a norm.
    """
    readers = _readers(network)
    if not readers:
        raise ConversionError(
            f"norm={norm!r}: no convolution or linear layer of the network feeds a neuron with "
            'weights of its own; pass norm="folded"'
        )
    seen = {name: _Sums() for name in readers}
    hooks = [network.get_submodule(name).register_forward_hook(seen[name]) for name in readers]
    run = present_at_once if quantized else present
    with torch.no_grad():
        for images in batches:
            run(network, images, timesteps)
    for hook in hooks:
        hook.remove()
    for name, reader in readers.items():
        neuron = network.neuron(reader)
        assert isinstance(neuron, TrainableNeuron)
        layer = copy.copy(network.get_submodule(name))
        assert isinstance(layer, WEIGHTED)
        layer._modules = {}  # `place` moves what stands below the layer to the norm
        mean, variance = (value.to(neuron.log_threshold) for value in seen[name].moments())
        unit = neuron if norm == "threshold" else None
        place(network, name, NormedLayer(name, layer, mean, variance, unit))


def fold_norms(network: SpikingNetwork) -> SpikingNetwork:
    """Take the norms of ``keep_norms`` into the weights, in place; the network."""
    for name, norm in list(network.named_modules()):
        if isinstance(norm, NormedLayer):
            layer = norm.folded()
            del norm.layer
            place(network, name, layer)
    return network


class _Sums:
    """A forward hook that adds up a layer's outputs and their squares, for each channel."""

    def __init__(self) -> None:
        self.sums: Tensor | int = 0

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        values = y.double().transpose(0, 1).flatten(1)
        parts = [torch.ones_like(values).sum(1), values.sum(1), values.square().sum(1)]
        self.sums = self.sums + torch.stack(parts)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance over the processes together, [C]."""
        assert isinstance(self.sums, Tensor)
        count, total, squares = processes.added(self.sums)
        mean = total / count
        return mean, (squares / count - mean.square()).clamp_min(0)


def _readers(network: SpikingNetwork) -> dict[str, str]:
    """The neuron layer that reads each layer a norm can stand behind."""
    nodes = [node for node in network.graph.nodes if node.op == "call_module"]
    weights = [getattr(network.get_submodule(str(node.target)), "weight", None) for node in nodes]
    found = {}
    for node in nodes:
        layer, reader = network.get_submodule(str(node.target)), _reader(node, network)
        if reader is None or not isinstance(layer, WEIGHTED):
            continue
        on_tokens = isinstance(layer, nn.Linear) and len(node.meta["shape"]) != 2
        transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        alone = sum(weight is layer.weight for weight in weights) == 1
        if alone and not on_tokens and not transposed:
            found[str(node.target)] = str(reader.target)
    return found


def _reader(node: fx.Node, network: SpikingNetwork) -> fx.Node | None:
    """The first neuron layer that a node's values reach without another weighted layer."""
    waiting = list(node.users)
    for user in waiting:
        if user.meta["role"] == "neuron":
            return user
        weighs = user.op == "call_module" and isinstance(
            network.get_submodule(str(user.target)), WEIGHTED
        )
        if not weighs:
            waiting += [each for each in user.users if each not in waiting]
    return None
