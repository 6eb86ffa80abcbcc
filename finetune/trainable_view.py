"""A converted network as a plain module for a training loop of one's own."""

from types import TracebackType
from typing import Any

from torch import nn

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.simulation.input_encoding import Constant
from spikeport.convert.simulation.timesteps import require_timesteps
from spikeport.finetune.gradient.record import Record
from spikeport.finetune.gradient.through_time import present
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable, plain, trainable_neurons


class TrainableView(nn.Module):
    """A spiking network with derivatives, which a loop, Lightning or a Trainer can train.

    Its parameters are the weights, the thresholds (as logarithms), the initial potentials (in
    thresholds) and the corrections of the network. They are a copy: ``put_back`` writes them into
    the network it was made from, and so does the end of a ``with`` block.

    Attributes:
        network: with trainable neurons.
        timesteps: T of a call.
    """

    def __init__(
        self, source: SpikingNetwork, timesteps: int, surrogate: Surrogate, learn_leak: bool
    ) -> None:
        super().__init__()
        self.timesteps = require_timesteps(timesteps)
        self.network = make_trainable(source, surrogate, learn_leak)
        self._source = [source]  # in a list: it is no part of this module

    def forward(self, x: Any) -> Any:
        """The decoded output after T timesteps, with gradients through all of them.

        Args:
            x: images or features, [B, C, ...], or a batch that holds them, see
                ``convert.batches``.

        Returns:
            What the network returns: a tensor [B, ...] or a structure of them, float32.
        """
        return self._record(x).answer

    def outputs(self, x: Any) -> Any:
        """The outputs of every timestep of the readout, [T, B, ...], for losses that read them."""
        return self._record(x).outputs

    def _record(self, batch: Any) -> Record:
        images = self.network.take_apart(batch).x
        self.network.check_input(images)
        for neuron in trainable_neurons(self.network).values():
            neuron.project()
        return present(self.network, images, self.timesteps)

    def to_snn(self) -> SpikingNetwork:
        """A converted network with the present numbers, frozen, for every backend."""
        result = plain(self.network)
        result.info["finetuned"] = f"trainable(timesteps={self.timesteps}), a loop of its own"
        return result

    def put_back(self) -> SpikingNetwork:
        """Write the present numbers into the network that this is a view of, and return it."""
        result, source = self.to_snn(), self._source[0]
        source.load_state_dict(result.state_dict())
        for name, neuron in source.neurons.items():
            neuron.model = result.neuron(name).model  # with another leak
        source.info["finetuned"] = result.info["finetuned"]
        return source

    def __enter__(self) -> "TrainableView":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if kind is None:
            self.put_back()


def trainable(
    snn: SpikingNetwork,
    timesteps: int,
    surrogate: Surrogate | None = None,
    learn_leak: bool = False,
) -> TrainableView:
    """A module whose forward is the spiking network over T timesteps, differentiable.

    The spikes have a surrogate gradient (Neftci et al. 2019, "Surrogate Gradient Learning in
    Spiking Neural Networks"), and backpropagation goes through all timesteps. For training loops
    of one's own; ``finetune`` is the loop that comes with the package::

        with sp.trainable(snn, timesteps=4) as net:
            optimizer = torch.optim.AdamW(net.parameters(), 1e-4)
            for images, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(net(images), labels).backward()
                optimizer.step()
        snn(images, timesteps=4)  # the trained network

    Args:
        snn: calibrated, best for T (``to_snn(…, timesteps=T)``). Left as it is until ``put_back``,
            which the end of a ``with`` block calls unless an error ends it.
        timesteps: T.
        surrogate: the derivative of a spike; by default ``Surrogate()``.
        learn_leak: train one leak for each layer.

    Raises:
        ConversionError: an uncalibrated network, an input that is no constant current, or neurons
            that cannot be trained.
    """
    if not isinstance(snn, SpikingNetwork):
        raise ConversionError(
            f"trainable takes a SpikingNetwork, not a '{type(snn).__name__}'; make one with to_snn"
        )
    require_constant(snn)
    return TrainableView(snn, timesteps, surrogate or Surrogate(), learn_leak)


def require_constant(snn: SpikingNetwork) -> None:
    """Raise ConversionError unless the input of a network is presented as a constant current."""
    if not isinstance(snn.encoding, Constant):
        raise ConversionError(
            f"the network's input is presented as {snn.encoding}, and fine-tuning presents it as a "
            "constant current; set snn.encoding = 'constant'"
        )
