"""Statistics of the inputs of layers on calibration images, for the rounding of their weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from spikeport.convert.graph.spiking_graph import SpikingGraph

POSITIONS = 4096  # of a layer's inputs that are taken from one batch, at most


class Moments:
    """The mean of a layer's inputs and of their products, over images and positions.

    Attributes:
        mean: [G, N], in the units of the input.
        products: [G, N, N].
    """

    def __init__(self) -> None:
        self.count, self.mean, self.products = 0, torch.zeros(()), torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take in inputs, [M, G, N]."""
        rows = rows.double()
        self.mean = self.mean + rows.sum(0)
        self.products = self.products + torch.einsum("mgi,mgj->gij", rows, rows)
        self.count += len(rows)

    def averaged(self) -> tuple[Tensor, Tensor]:
        """Mean and products."""
        return self.mean / self.count, self.products / self.count


@torch.no_grad()
def moments_of(
    network: SpikingGraph, batches: Iterable[Any], layers: Iterable[fx.Node]
) -> dict[fx.Node, Moments]:
    """The moments of layers' inputs in the analog reading.

    Args:
        network: calibrated, with float numbers.
        batches: see ``convert.batches``.
        layers: nodes; those whose inputs have no rows (3-D and transposed convolutions, padding
            other than zeros) are left out.
    """
    wanted = {node: Moments() for node in layers if _has_rows(_layer(network, node))}

    def visit(node: fx.Node, args: Any, value: Any) -> None:
        if node in wanted:
            rows = _rows(_layer(network, node), args[0])
            every = max(1, len(rows) // POSITIONS)
            wanted[node].add(rows[::every])

    for batch in batches:
        network.evaluate(batch, visit)
    return {node: found for node, found in wanted.items() if found.count}


def _layer(network: SpikingGraph, node: fx.Node) -> Any:
    return network.get_submodule(str(node.target))


def _has_rows(layer: Any) -> bool:
    plain = type(layer) in (nn.Conv1d, nn.Conv2d)
    padded = plain and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.Linear) or padded


def _rows(layer: Any, x: Tensor) -> Tensor:
    """The inputs of each output position, [M, G, N]."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, 1, x.shape[-1])
    kernel, dilation, padding, stride = (
        tuple(side) for side in (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    )
    if isinstance(layer, nn.Conv1d):  # maps of one row
        x = x.unsqueeze(2)
        kernel, dilation, padding, stride = (
            (1, *kernel),
            (1, *dilation),
            (0, *padding),
            (1, *stride),
        )
    parts = functional.unfold(x, kernel, dilation, padding, stride)  # [B, C·k, L]
    return parts.transpose(1, 2).unflatten(2, (layer.groups, -1)).flatten(0, 1)
