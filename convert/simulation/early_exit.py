"""Stopping per image: as soon as an answer is sure enough, its image leaves the batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input
from spikeport.convert.neurons.fields import require_integer
from spikeport.convert.outputs import named_tensors
from spikeport.convert.simulation.emitted import Watcher
from spikeport.convert.simulation.readout import Readout
from spikeport.convert.simulation.run import map_tensors, mean_between
from spikeport.convert.simulation.simulate import start_run

Rule = Literal["gap", "confidence", "entropy"]


@dataclass(frozen=True)
class EarlyExit:
    """A rule that makes an image's answer final before all timesteps are over.

    Attributes:
        rule: what is read from the decoded class scores [B, K]. ``"gap"``: the best score less the
            second best, in the scores' units (Wu et al. 2023, "Optimising Event-Driven Spiking
            Neural Network with Regularisation and Cutoff"). ``"confidence"``: the largest softmax
            probability, in [1/K, 1] (Li et al. 2023, "SEENN: Towards Temporal Spiking Early-Exit
            Neural Networks"). ``"entropy"``: the softmax' entropy over that of K equal classes, in
            [0, 1] (Li et al. 2023, "Input-Aware Dynamic Timestep Spiking Neural Networks").
        threshold: an image stops at a gap or a confidence of at least this, or an entropy of at
            most this.
        first: the first timestep that may be the last one; before it, spikes may not have come
            through all layers.
        every: timesteps between two decisions. They are simulated together: 1 stops earliest, more
            simulate quicker.
    """

    rule: Rule
    threshold: float
    first: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ConversionError(
                f"EarlyExit.rule is {self.rule!r}; expected one of {get_args(Rule)}"
            )
        number = isinstance(self.threshold, (int, float)) and not isinstance(self.threshold, bool)
        if not number or math.isnan(self.threshold):
            raise ConversionError(f"EarlyExit.threshold is {self.threshold!r}; expected a number")
        require_integer("EarlyExit", "first", self.first, 1)
        require_integer("EarlyExit", "every", self.every, 1)

    def times(self, timesteps: int) -> list[int]:
        """The timesteps at which images may stop; all stop after the last, T."""
        return [*range(self.first, timesteps, self.every), timesteps]

    def stops(self, scores: Tensor) -> Tensor:
        """Whether each image stops, bool [B], for decoded class scores [B, K]."""
        value = measure(self.rule, scores)
        return value <= self.threshold if self.rule == "entropy" else value >= self.threshold


def measure(rule: Rule, scores: Tensor) -> Tensor:
    """The measure that a rule compares with its threshold, [B], for decoded class scores [B, K]."""
    if rule == "gap":
        best = scores.topk(2, 1).values
        return best[:, 0] - best[:, 1]
    probabilities = scores.softmax(1)
    if rule == "confidence":
        return probabilities.amax(1)
    return torch.special.entr(probabilities).sum(1) / math.log(scores.shape[1])


def is_scores(outputs: Any) -> bool:
    """Whether a network's output is class scores, or has them in it; see ``class_scores``."""
    return _scores(outputs) is not None


def class_scores(outputs: Any) -> Tensor:
    """The class scores in an output, [B, K] with K >= 2.

    They are the output itself, the only tensor in it, or its ``logits``.

    Raises:
        ConversionError: there are none.
    """
    found = _scores(outputs)
    if found is not None:
        return found
    kind = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
    raise ConversionError(
        "this needs a classifier with output [B, classes], two classes or more; the network "
        f"returns {kind}. Use network.anytime(x, timesteps) and a measure of your own."
    )


def _scores(outputs: Any) -> Tensor | None:
    named = named_tensors(outputs)
    found = next(iter(named.values())) if len(named) == 1 else named.get("logits")
    return found if found is not None and found.ndim == 2 and found.shape[1] > 1 else None


@torch.no_grad()
def run_until_sure(
    network: SpikingGraph, x: Input, timesteps: int, exit: EarlyExit, watch: Watcher | None
) -> tuple[Tensor, Tensor]:
    """Simulate and let images go as they get sure; see ``SpikingNetwork.early_exit``."""
    batch = len(network.encoding.batch(x))
    remaining = torch.arange(batch, device=x.device)
    times = torch.full_like(remaining, timesteps)
    outputs = torch.zeros(0, device=x.device)
    answers = _Answers(network, x, timesteps, exit, watch)
    for time, answer in answers:
        scores = class_scores(network.as_source(answer))
        if not len(outputs):
            outputs = scores.new_zeros(batch, scores.shape[1])
        stops = exit.stops(scores) if time < timesteps else torch.ones_like(remaining).bool()
        outputs[remaining[stops]], times[remaining[stops]] = scores[stops], time
        if bool(stops.all()):
            break
        if bool(stops.any()):
            rows = (~stops).nonzero()[:, 0]
            remaining = remaining[rows]
            answers.keep(rows)
    return outputs, times


class _Answers:
    """The decoded outputs at the times of decision, of the images that are still there."""

    def __init__(
        self,
        network: SpikingGraph,
        x: Input,
        timesteps: int,
        exit: EarlyExit,
        watch: Watcher | None,
    ) -> None:
        self.times = exit.times(timesteps)
        self.starts = {time: network.readout_start(time) for time in self.times}
        self.until: dict[int, Any] = {}  # means from the first timestep to where a window starts
        self.run = start_run(network, x, watch)
        self.run.readout, self.run.wanted = Readout(self.run.network.graph), timesteps
        self.chunk = self.run.default_chunk()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        begins = set(self.starts.values()) - {0}
        for time in sorted(begins.union(self.times)):
            mean = self._advance_to(time)
            if time in begins:
                self.until[time] = mean
            if time in self.starts:
                begin = self.starts[time]
                between = partial(mean_between, begin, time)
                yield time, map_tensors(between, self.until[begin], mean) if begin else mean

    def _advance_to(self, time: int) -> Any:
        while time - self.run.time > self.chunk:
            self.run.advance(self.chunk)
        steps = time - self.run.time
        return self.run.advance(steps, [steps])[0]

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the images only."""
        self.run.keep(rows)
        kept = partial(torch.index_select, dim=0, index=rows)
        self.until = {time: map_tensors(kept, mean) for time, mean in self.until.items()}
