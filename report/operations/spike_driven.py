"""How much of a converted network is spike-driven."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from spikeport.convert import SpikingNetwork
from spikeport.convert.graph.roles import in_time
from spikeport.convert.simulation.encoded_network import as_presented


@dataclass(frozen=True)
class Share:
    """The multiply-accumulates of the source network, by what becomes of them.

    Attributes:
        accumulates: of layers that receive spikes; each spike adds weights, nothing is multiplied.
        on_input: on the network's constant input, by layer: multiplied, but at one timestep only.
        multiplies: on analog values at every timestep, by layer or operation.
    """

    accumulates: float
    on_input: dict[str, float]
    multiplies: dict[str, float]

    @property
    def once(self) -> float:
        """Multiplied at one timestep only, in all layers together."""
        return sum(self.on_input.values())

    @property
    def spike_driven(self) -> float:
        """The share that becomes accumulates, in [0, 1], of what is not computed once."""
        analog = sum(self.multiplies.values())
        return self.accumulates / max(self.accumulates + analog, 1.0)


@torch.no_grad()
def spike_driven(network: SpikingNetwork, x: Tensor) -> Share:
    """Count the multiplications of one analog run, and which of them read spikes.

    Convolutions, linear layers and matrix products count (attention as its two products);
    elementwise operations and pooling do not.

    Args:
        network: converted; it need not be calibrated.
        x: one image or more, [B, C, ...].
    """
    accumulates, before = 0.0, 0
    on_input: Counter[str] = Counter()
    multiplies: Counter[str] = Counter()

    def visit(node: fx.Node, args: Any, value: Any) -> None:
        nonlocal accumulates, before
        total = counter.get_total_flops()
        macs, before = (total - before) / 2 / len(x), total
        changing = [arg for arg in pytree.tree_leaves((node.args, node.kwargs)) if in_time(arg)]
        if not macs:
            return
        if not changing:
            on_input[_name(node)] += macs
        elif node.meta["role"] != "difference" and all(arg.meta["spikes"] for arg in changing):
            accumulates += macs
        else:
            multiplies[_name(node)] += macs

    # attention as matrix products, which are what the counter knows
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        as_presented(network).evaluate(x, visit)
    return Share(accumulates, dict(on_input), dict(multiplies))


def _name(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target)
    return f"{node.meta['path']}.{node.meta['op']}".lstrip(".")
