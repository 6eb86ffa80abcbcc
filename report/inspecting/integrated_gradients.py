"""The part of the output error that each layer's own error makes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input
from spikeport.convert.outputs import flat, is_float
from spikeport.report.inspecting.analog_interpreter import Reading

POINTS = 8  # of the quadrature


@torch.inference_mode(False)
def effects(
    reference: SpikingNetwork,
    x: Input,
    errors: Mapping[fx.Node, list[Tensor]],
    direction: Tensor,
) -> dict[fx.Node, list[Tensor]]:
    """The effect of a unit of error at each place on the output, along a direction.

    Time enters a spiking network in its neurons only: the mean over the timesteps passes linear
    layers, and difference operations act on it. So the decoded output is *exactly* the source
    network's, F, with the error e_k = mean(out) − activation(mean(I)) added to the activation of
    every layer k. How much each of them makes of ``Δ = F(e) − F(0)`` is attributed along the
    straight way from 0 to e (Aumann & Shapley 1974, "Values of Non-Atomic Games"; Sundararajan et
    al. 2017, "Axiomatic Attribution for Deep Networks", integrated gradients)::

        c_k = <∫₀¹ ∂<F(α·e), Δ>/∂e_k dα, e_k>

    Their sum is |Δ|², whatever the order of the layers and however large the errors, and c_k is
    linear in e_k, so that parts of an error have contributions that add up to the whole's. The
    integral is a Gauss-Legendre sum of 8 gradients: what it misses, and what rounding adds, is all
    that keeps the sum of the contributions from the measured |Δ|². It is a check: Δ comes from
    the simulation, e_k from the layers.

    Args:
        reference: whose analog reading is F.
        x: images, [B, C, ...].
        errors: e_k, one tensor for each that a node of the reference returns.
        direction: Δ, [B, N], as ``flat`` gives it.

    Returns:
        The integral, by node, of the shapes of the errors.
    """
    totals = {node: [torch.zeros_like(e) for e in each] for node, each in errors.items()}
    x, direction = x.clone(), direction.clone()  # they may have been made in inference mode
    places, weights = np.polynomial.legendre.leggauss(POINTS)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        leaves = {
            node: [(float(place) * e).detach().requires_grad_() for e in each]
            for node, each in errors.items()
        }
        slopes = _slopes(reference, x, leaves, direction)
        for node, each in slopes.items():
            for total, slope in zip(totals[node], each, strict=True):
                total.add_(slope, alpha=float(weight))
    return totals


def _slopes(
    reference: SpikingNetwork,
    x: Input,
    errors: dict[fx.Node, list[Tensor]],
    direction: Tensor,
) -> dict[fx.Node, list[Tensor]]:
    def add(node: fx.Node, args: Any, kwargs: Any, value: Any) -> Any:
        if node not in errors:
            return value
        rest = iter(errors[node])
        return pytree.tree_map(lambda v: v + next(rest) if is_float(v) else v, value)

    flattened = [e for each in errors.values() for e in each]
    with torch.enable_grad():
        score = (flat(Reading(reference, add).of(x)) * direction).sum()
        found = torch.autograd.grad(score, flattened, allow_unused=True)
    slopes = iter(
        torch.zeros_like(e) if slope is None else slope
        for e, slope in zip(flattened, found, strict=True)
    )
    return {node: [next(slopes) for _ in each] for node, each in errors.items()}
