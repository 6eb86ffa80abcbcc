"""Average pools of spikes as sums, which are whole numbers; the next weights take over 1/k²."""

import copy
import math
from collections.abc import Collection
from typing import Any

from torch import fx, nn

from spikeport.convert.graph.nodes import place, unique
from spikeport.convert.graph.spiking_graph import SpikingGraph


def sum_pools(network: SpikingGraph, of_one_unit: Collection[fx.Node]) -> dict[fx.Node, int]:
    """Let the average pools of spikes add up, in place.

    Those whose windows have several sizes (adaptive ones, borders that do not count) stay.

    Args:
        network: changed.
        of_one_unit: nodes all of whose spikes are worth the same at a position.

    Returns:
        By node, the number of positions that its average was of.
    """
    found: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        pool: Any = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if type(pool) not in (nn.AvgPool2d, nn.AvgPool3d) or node not in of_one_unit:
            continue
        borders = _padded(pool) and not pool.count_include_pad
        if pool.ceil_mode or pool.divisor_override or borders:
            continue
        sizes, spatial = pool.kernel_size, 2 if isinstance(pool, nn.AvgPool2d) else 3
        found[node] = sizes**spatial if isinstance(sizes, int) else math.prod(sizes)
        summing = copy.copy(pool)
        summing.divisor_override = 1
        node.target = unique(network, str(node.target))
        place(network, node.target, summing)
    return found


def _padded(pool: Any) -> bool:
    padding = pool.padding
    return max(padding if isinstance(padding, tuple) else (padding,)) > 0
