"""The list of passes that serves held-out images best."""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikeport.calibration.recipe import Pass, run_passes
from spikeport.calibration.threshold import check_timesteps
from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.inputs import Input
from spikeport.convert.outputs import flat

HELD_OUT = 4  # every fourth image
SHARES = (0.0, 0.125, 0.25, 0.375, 0.5)


@dataclass(frozen=True)
class BestOf:
    """Tries several lists of passes and keeps the one whose answers are nearest to the source's.

    Every fourth image of the data is held out; no labels are needed. The distance is
    ``1 − cos`` of the decoded output and the source network's, each less its mean over the
    classes, averaged over the held-out images. The readout's delay is chosen with it, among
    0 to one half of the timesteps: the shortest whose distance is within one standard error of the
    best one's (Breiman et al. 1984, "Classification and Regression Trees", the 1-SE rule), since a
    window leaves out spikes, and few images cannot tell a small gain from luck.

    Attributes:
        timesteps: the T at which the answers are compared.
        candidates: lists of passes, in order of preference.
    """

    timesteps: int
    candidates: tuple[tuple[Pass, ...], ...]

    def __post_init__(self) -> None:
        check_timesteps("BestOf", self.timesteps)
        if not self.candidates:
            raise ConversionError("BestOf.candidates is empty; expected lists of passes")

    @torch.no_grad()
    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Leave the network as the best candidate made it; note the trials in ``info``."""
        start, source = _numbers(network), copy.deepcopy(network)
        best, kept, trials = float("inf"), start, []
        bar = tqdm(self.candidates, desc="recipes tried", leave=False, disable=not progress)
        for passes in bar:
            _restore(network, start)
            run_passes(network, _Part(network, batches, held_out=False), passes, progress)
            errors = self._errors(network, source, _Part(network, batches, held_out=True))
            share = _earliest(errors)
            error = float(errors[share].mean())
            trials.append({"passes": [*map(repr, passes)], "delay": share, "error": error})
            if error < best:
                best, kept = error, _numbers(network)
                kept["delay"] = share
        _restore(network, kept)
        network.info["trials"] = trials

    def _errors(
        self, network: SpikingNetwork, source: SpikingNetwork, batches: "_Part"
    ) -> dict[float, Tensor]:
        """Each image's distance of the answers, [N], by the share of the timesteps left out."""
        network.readout_delay = 0.0
        starts = {share: int(share * self.timesteps + 1e-9) for share in SHARES}
        wanted = sorted({*starts.values(), self.timesteps} - {0})
        found: dict[float, list[Tensor]] = {share: [] for share in SHARES}
        for batch in batches:
            until = {T: _centered(out) for T, out in network.readouts(batch, wanted)}
            expected = _centered(source.analog(batch))
            for share, first in starts.items():
                total = until[self.timesteps] * self.timesteps
                if first:
                    total = total - until[first] * first
                found[share].append(_angle(total, expected))
        if not found[0.0]:
            raise ConversionError(
                f"BestOf holds out every {HELD_OUT}th image and got fewer; pass more images"
            )
        return {share: torch.cat(angles) for share, angles in found.items()}


def _earliest(errors: dict[float, Tensor]) -> float:
    """The smallest share within one standard error (of the images' differences) of the best."""
    best = min(errors, key=lambda share: float(errors[share].mean()))
    for share in sorted(errors):
        more = errors[share] - errors[best]
        if float(more.mean()) <= float(more.std(correction=0)) / math.sqrt(len(more)):
            return share
    return best


class _Part:
    """The images of some data that are, or are not, held out."""

    def __init__(self, network: SpikingNetwork, batches: Iterable[Any], held_out: bool) -> None:
        self._network, self._batches, self._held_out = network, batches, held_out

    def __iter__(self) -> Iterator[Input]:
        first = 0
        for batch in self._batches:
            images = self._network.take_apart(batch).x
            places = torch.arange(first, first + len(images))
            chosen = ((places + 1) % HELD_OUT == 0) == self._held_out
            first += len(images)
            if bool(chosen.any()):
                yield images[chosen.to(images.device)]


def distances(output: Any, expected: Any) -> Tensor:
    """1 − cos of two answers, tensors [B, ...] or structures of them, for each image, [B]."""
    return _angle(_centered(output), _centered(expected))


def _angle(output: Tensor, expected: Tensor) -> Tensor:
    return 1 - torch.cosine_similarity(output, expected, 1)


def _centered(output: Any) -> Tensor:
    """All numbers of an output, [B, N], less the mean of each image."""
    values = flat(output)
    return values - values.mean(1, keepdim=True) if values.shape[1] > 1 else values


def _numbers(network: SpikingNetwork) -> dict[str, Any]:
    """Numbers that passes change."""
    values = {name: value.detach().clone() for name, value in network.state_dict().items()}
    models = {name: neuron.model for name, neuron in network.neurons.items()}
    return {"values": values, "models": models, "delay": network.readout_delay}


def _restore(network: SpikingNetwork, numbers: dict[str, Any]) -> None:
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        value.data = numbers["values"][name].clone()
    for name, neuron in network.neurons.items():
        neuron.model = numbers["models"][name]
    network.readout_delay = numbers["delay"]
