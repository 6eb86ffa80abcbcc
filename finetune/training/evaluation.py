"""Accuracy and spikes of a network at some numbers of timesteps."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import ConversionError, SpikingNetwork, processes
from spikeport.convert.batches import images_and_labels
from spikeport.convert.simulation.emitted import Emitted


def known_labels(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Images and labels of a batch; labels below 0 stand for none, as in folders without classes.

    Raises:
        ConversionError: labels that are no class indices, or of which some are below 0 and some are
            not; an unusable batch.
    """
    images, labels = images_and_labels(batch)
    if labels is not None and (
        not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point()
    ):
        kind = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        dtype = f" of {labels.dtype}" if isinstance(labels, Tensor) else ""
        raise ConversionError(
            f"a batch's labels are {kind}{dtype}; expected class indices, an integer tensor [B]"
        )
    if labels is None or bool((labels >= 0).all()):
        return images, labels
    if bool((labels < 0).all()):
        return images, None
    raise ConversionError(
        f"a batch has the label {int(labels.min())} beside others; leave images without a class "
        "out, or pass images alone and teacher=the source network"
    )


@torch.no_grad()
def evaluate(
    network: SpikingNetwork,
    batches: Iterable[Any],
    timesteps: Sequence[int],
    teacher: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """Shares of right answers and spikes, over the batches of all processes together.

    Args:
        network: converted, not a trainable one.
        batches: of (images, labels), or of images alone, which are compared with the teacher.
        timesteps: the T to read the answer at, ascending.
        teacher: gives logits, [B, K].

    Returns:
        ``accuracy_T`` in percent for each T (agreement with the teacher where there are no
        labels), and ``spikes_per_neuron`` at the last T.
    """
    counter = _SpikeCounter(network)
    right = [0] * len(timesteps)
    images_seen = 0
    for batch in batches:
        images, labels = known_labels(batch)
        images = images.to(_device(network))
        if labels is None:
            if teacher is None:
                raise ConversionError(
                    "the validation data has no labels and there is no teacher to compare answers "
                    "with; pass pairs (images, labels), or teacher=the source network"
                )
            labels = teacher(images.clone()).argmax(1)
        images_seen += len(images)
        answers = network.readouts(images, timesteps, watch=counter)
        for place, (_, answer) in enumerate(answers):
            right[place] += int((answer.argmax(1) == labels.to(answer.device)).sum())
    counted = [*right, images_seen, counter.spikes, counter.neurons]
    *correct, seen, spikes, neurons = processes.added(
        torch.tensor(counted, dtype=torch.float64)
    ).tolist()
    shares = {
        f"accuracy_{T}": 100 * found / seen for T, found in zip(timesteps, correct, strict=True)
    }
    return shares | {"spikes_per_neuron": spikes / neurons}


class _SpikeCounter:
    """Adds up spikes of either sign; called with what each layer emits in a chunk."""

    def __init__(self, network: SpikingNetwork) -> None:
        self.layers = network.neurons
        self.spikes = self.neurons = 0.0

    def __call__(self, name: str, emitted: Emitted) -> None:
        layer = self.layers.get(name)
        if layer is None:  # a pool of spikes
            return
        values = emitted.values()
        self.spikes += float((values.abs() / layer.per_channel(layer.threshold, values[0])).sum())
        if emitted.first == 0:
            self.neurons += values[0].numel()


def _device(network: SpikingNetwork) -> torch.device:
    return next(network.parameters()).device
