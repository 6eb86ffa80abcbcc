"""The threshold of an early exit, from images without labels."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.batches import stream
from spikeport.convert.simulation.early_exit import EarlyExit, Rule, class_scores, measure
from spikeport.convert.simulation.timesteps import require_timesteps

CANDIDATES = 500  # thresholds that are tried


@torch.no_grad()
def calibrate_exit(
    network: SpikingNetwork,
    loader: Iterable[Any],
    timesteps: int,
    agreement: float = 0.99,
    rule: Rule = "gap",
    every: int | None = None,
    progress: bool = True,
) -> EarlyExit:
    """Find the rule that stops earliest while its answers stay those of all T timesteps.

    Tried are thresholds and first timesteps, on the answers of the images at every decision. Of n
    images k may get another class than after T timesteps, with (k + 1) / (n + 1) at most
    1 - agreement (the finite-sample bound of Angelopoulos et al. 2022, "Conformal Risk Control").
    The search favours rules that are lucky on these images, so other images agree somewhat less
    often; several hundred keep the difference small.

    Args:
        network: calibrated.
        loader: batches as for ``sweep``; labels are not used. Not the evaluation images.
        timesteps: T, the most.
        agreement: wanted share of the images whose class is that of all T timesteps, in (0, 1).
        rule: see ``EarlyExit``.
        every: timesteps between two decisions; by default an eighth of T (in whole periods of the
            encoding), because single timesteps simulate slowly.
        progress: show a bar when it takes longer than two seconds.

    Raises:
        ConversionError: no classifier; too few images to tell such an agreement.
    """
    if isinstance(agreement, bool) or not 0 < agreement < 1:
        raise ConversionError(f"agreement is {agreement!r}; expected a share between 0 and 1")
    if every is None:
        period = network.encoding.period
        every = max(1, require_timesteps(timesteps) // (8 * period)) * period
    times = EarlyExit(rule, 0.0, every, every).times(require_timesteps(timesteps))
    sureness, right = _answers(network, loader, times, rule, progress)
    allowed = math.floor((1 - agreement) * (len(right) + 1) + 1e-9) - 1
    if allowed < 0:
        raise ConversionError(
            f"{len(right)} images cannot show an agreement of {agreement:g}; pass at least "
            f"{math.ceil(1 / (1 - agreement) - 1e-9) - 1} or a lower agreement"
        )
    threshold, first = _earliest(sureness, right, torch.tensor(times), allowed)
    return EarlyExit(rule, -threshold if rule == "entropy" else threshold, first, every)


def _answers(
    network: SpikingNetwork, loader: Iterable[Any], times: list[int], rule: Rule, progress: bool
) -> tuple[Tensor, Tensor]:
    """Sureness of each image at each time, and whether its class is the last one; both [N, D]."""
    sureness, right = [], []
    for batch in stream(loader, f"simulating {times[-1]} timesteps", progress):
        answers = [class_scores(scores) for _, scores in network.readouts(batch, times)]
        values = torch.stack([measure(rule, scores) for scores in answers], 1)
        best = torch.stack([scores.argmax(1) for scores in answers], 1)
        sureness.append(-values if rule == "entropy" else values)
        right.append(best == best[:, -1:])
    return torch.cat(sureness), torch.cat(right)


def _earliest(sureness: Tensor, right: Tensor, times: Tensor, allowed: int) -> tuple[float, int]:
    """The threshold and the first timestep with the smallest mean T.

    A threshold counts only if it and all higher ones leave no more than ``allowed`` images wrong.
    """
    values = sureness.flatten().unique().flip(0)
    chosen = values[:: max(1, math.ceil(len(values) / CANDIDATES))].tolist()
    best = (float(times[-1]), math.inf, int(times[-1]))  # nobody stops early
    usable = torch.ones(len(times), dtype=torch.bool)
    for threshold in chosen:
        stops = sureness >= threshold
        place = torch.full((len(sureness),), len(times) - 1)
        for first in range(len(times) - 2, -1, -1):
            place = torch.where(stops[:, first].cpu(), first, place)
            wrong = int((~right.cpu().gather(1, place[:, None])).sum())
            usable[first] &= wrong <= allowed
            mean = float(times[place].double().mean())
            if usable[first] and mean < best[0]:
                best = (mean, threshold, int(times[first]))
    return best[1], best[2]
