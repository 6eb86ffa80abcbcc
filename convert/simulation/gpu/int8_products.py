"""Products of spikes and int8 weights as integers, where that was measured to be quicker.

``torch._int_mm`` multiplies int8 matrices on a GPU's integer units and adds up in int32: exact, and
so is the float32 convolution beside it, so that which of the two runs changes no spike.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spikeport.convert.graph.same_padding import pair
from spikeport.convert.graph.spiking_graph import SpikingGraph

LARGEST = 127  # a spike count or weight of either sign
ROWS = 17  # fewest that ``torch._int_mm`` takes on a GPU
MULTIPLE = 8  # of its other sizes
ROUNDS = 3  # of a measurement; the quickest counts

# By device, layer and shape: whether integers were quicker. A measurement is for the process.
_quicker: dict[tuple[Any, ...], bool] = {}


class Int8Products:
    """The layers of one presentation that read spike counts.

    Args:
        network: any; in one without whole numbers there are none.
    """

    def __init__(self, network: SpikingGraph) -> None:
        self.network = network
        self._layers: dict[fx.Node, Int8Layer | None] = {}

    def output(self, node: fx.Node, spikes: Any, plain: Callable[[], Tensor]) -> Tensor | None:
        """The output of a node as a product of integers, if that can be and is quicker.

        Args:
            node: of the graph.
            spikes: the value of its first argument.
            plain: computes the output with floats.
        """
        if node not in self._layers:
            self._layers[node] = self._prepared(node)
        layer = self._layers[node]
        if layer is None or not isinstance(spikes, Tensor) or not suits(layer.layer, spikes):
            return None
        return layer(spikes) if is_quicker(layer, spikes, plain) else None

    def _prepared(self, node: fx.Node) -> "Int8Layer | None":
        """The layer of a node that reads the counts of one layer of neurons, and nothing else."""
        source = node.args[0] if node.args else None
        if node.op != "call_module" or node.kwargs or not isinstance(source, fx.Node):
            return None
        layer: Any = self.network.get_submodule(str(node.target))
        if source.meta["role"] != "neuron" or not isinstance(layer, nn.Conv2d | nn.Linear):
            return None
        neuron = self.network.neuron(str(source.target))
        few = max(neuron.max_up, neuron.max_down) <= LARGEST
        if not (neuron.integer and few and bool((neuron.value == 1).all())):
            return None
        made = Int8Layer(layer)
        return made if made.exact else None


class Int8Layer:
    """A convolution or linear layer of whole numbers, its weights as an int8 matrix.

    Args:
        layer: as ``suits`` takes it.

    Attributes:
        exact: its weights are whole numbers that int8 holds, and its bias is whole.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        self.layer = layer
        weight = layer.weight.detach()
        last = weight.movedim(1, -1) if weight.ndim > 2 else weight  # taps, then channels
        self.weight = last.flatten(1).to(torch.int8).t()  # [K, O]
        same = torch.equal(self.weight.t().to(weight.dtype), last.flatten(1))
        self.exact = same and has_whole_weights(layer)

    def __call__(self, x: Tensor) -> Tensor:
        """The layer's output for whole numbers of up to LARGEST.

        Args:
            x: float32 [B, C, H, W], or [B, I] for a linear layer.
        """
        rows = self._rows(x)
        sums = torch._int_mm(rows.view(-1, rows.shape[-1]), self.weight).to(x.dtype)
        if self.layer.bias is not None:
            sums += self.layer.bias
        sums = sums.view(*rows.shape[:-1], -1)
        return sums if x.ndim == 2 else sums.movedim(-1, 1)

    def _rows(self, x: Tensor) -> Tensor:
        """The inputs of each output, int8 [B, rows, columns, K] or [B, I]."""
        if isinstance(self.layer, nn.Linear):
            return x.to(torch.int8)
        kernel, stride, padding = (
            pair(size) for size in (self.layer.kernel_size, self.layer.stride, self.layer.padding)
        )
        if any(padding):
            x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        seen = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
        taps = seen.permute(0, 2, 3, 4, 5, 1)
        return torch.empty(taps.shape, dtype=torch.int8, device=x.device).copy_(taps).flatten(3)


def has_whole_weights(layer: nn.Module) -> bool:
    """Whether all parameters of a layer are whole numbers."""
    return all(torch.equal(value, value.round()) for value in layer.parameters())


def suits(layer: nn.Module, x: Tensor) -> bool:
    """Whether a layer's product for an input can be one of int8 matrices."""
    if layer._forward_hooks or layer._forward_pre_hooks or x.dtype != torch.float32:
        return False
    if type(layer) is nn.Linear:
        return x.ndim == 2 and _fits(len(x), *layer.weight.shape)
    if type(layer) is not nn.Conv2d or x.ndim != 4 or layer.padding_mode != "zeros":
        return False
    plain = layer.groups == 1 and max(pair(layer.dilation)) == 1
    rows = len(x) * x.shape[2] * x.shape[3]
    stride = pair(layer.stride)
    return (
        plain
        and not isinstance(layer.padding, str)
        and _fits(rows // (stride[0] * stride[1]), len(layer.weight), layer.weight[0].numel())
    )


def _fits(rows: int, outputs: int, inputs: int) -> bool:
    return rows >= ROWS and outputs % MULTIPLE == 0 and inputs % MULTIPLE == 0


def is_quicker(layer: Int8Layer, x: Tensor, plain: Callable[[], Tensor]) -> bool:
    """Whether the product of integers beats the plain one; measured once for each shape.

    Args:
        layer: that takes ``x``.
        x: as for ``Int8Layer``.
        plain: computes the same with floats.
    """
    key = (x.device, str(layer.layer), x.shape, x.stride())
    if key not in _quicker:
        _quicker[key] = seconds_of(lambda: layer(x), x.device) < seconds_of(plain, x.device)
    return _quicker[key]


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds until the device is done with a call: the quickest of a few after one to warm up."""
    taken = []
    for _ in range(1 + ROUNDS):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
