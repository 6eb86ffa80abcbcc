"""Multiply-accumulates of one call, and how many weights a spike meets.

Positions outside the input (padding) are no operations; weights that are 0 are. What is counted is
the same whether the input is spikes (accumulates) or analog (multiply-accumulates).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.same_padding import SamePadded, pad_same

CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def synapses(layer: nn.Module, events: Tensor) -> Tensor:
    """Operations that a convolution or linear layer performs for events at its input, a scalar.

    Args:
        layer: with weights.
        events: spikes at each position, [B, C, ...] or [B, ..., C] of a linear layer, float64.
    """
    if isinstance(layer, nn.Linear):
        return events.sum() * layer.out_features
    assert isinstance(layer, nn.modules.conv._ConvNd)
    spatial = len(layer.kernel_size)
    events = events if events.ndim == spatial + 2 else events[None]  # an image without a batch
    # every weight counts the same, so the channels of a group may be summed first
    by_group = events.unflatten(1, (layer.groups, -1)).sum(2).flatten(0, 1)[:, None]
    ones = events.new_ones(1, 1, *layer.kernel_size)
    per_group = layer.out_channels // layer.groups
    if layer.transposed:
        transposed = TRANSPOSED[spatial](
            by_group,
            ones,
            None,
            layer.stride,
            layer.padding,
            layer.output_padding,
            1,
            layer.dilation,
        )
        return transposed.sum() * per_group
    padding: Any = layer.padding
    if isinstance(layer, SamePadded):
        by_group, padding = pad_same(by_group, layer, 0.0), 0
    elif layer.padding_mode != "zeros":
        pads = layer._reversed_padding_repeated_twice
        by_group, padding = F.pad(by_group, pads, layer.padding_mode), 0
    convolve = CONVOLUTIONS[spatial]
    return convolve(by_group, ones, None, layer.stride, padding, layer.dilation).sum() * per_group


@torch.no_grad()
def of_weights(call: Call) -> float:
    """MACs of a layer with weights, or of the function with weights that depend on the input."""
    x = call.argument("input")
    if call.module is not None:
        return float(synapses(call.module, torch.ones_like(x, dtype=torch.float64)))
    weight = call.argument("weight")
    outputs = x.numel() if "transpose" in call.node.meta["op"] else call.value.numel()
    return float(outputs * weight[0].numel())


def of_product(call: Call) -> float:
    """MACs of a matrix product: every output is a sum over the contracted dimension."""
    x = next(v for v in (call.argument(name) for name in ("batch1", "mat1", "input")) if _is(v))
    contracted = x.shape[-1] if x.ndim else 1
    return float(call.value.numel() * contracted)


def of_contraction(call: Call) -> float:
    """MACs of a product in which every index is either contracted or left over."""
    x, y = (leaf for leaf in map(call.resolved, call.leaves()) if _is(leaf))
    return math.sqrt(x.numel() * y.numel() * call.value.numel())


def of_einsum(call: Call) -> float:
    """MACs of an Einstein sum: the product of the sizes of all its indices."""
    equation, operands = call.argument("equation"), call.argument("operands")
    if not isinstance(equation, str):
        return float(call.value.numel())
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    named = [_named_sizes(term, x) for term, x in zip(terms, operands, strict=True)]
    sizes = {index: size for each in named for index, size in each.items() if size != 1}
    return float(math.prod(sizes.values())) if len(terms) > 1 else 0.0


def of_bilinear(call: Call) -> float:
    """MACs of x1 A x2 + b: its two contractions."""
    weight = call.argument("weight")
    out = call.value
    rows = out.numel() // out.shape[-1]
    return float(rows * weight.numel() + rows * weight.shape[0] * weight.shape[2])


def of_attention(call: Call) -> float:
    """MACs of scaled dot-product attention: queries times keys, weights times values."""
    query, key, value = (call.argument(name) for name in ("query", "key", "value"))
    scores = query.numel() * key.shape[-2]
    return float(scores + scores // query.shape[-1] * value.shape[-1])


def of_recurrence(call: Call) -> float:
    """MACs of a recurrent layer or cell: every weight once for each step of the sequence."""
    x = call.argument("input")
    steps = x.numel() / x.shape[-1]  # of all images together
    weights = [v for name, v in call.module.named_parameters() if name.startswith("weight")]
    return float(steps * sum(weight.numel() for weight in weights))


def measured(call: Call) -> float:
    """MACs of an operation without a rule: half of what torch's counter of FLOPs finds."""
    # attention as matrix products, which are what the counter knows
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call.evaluated(call.values.__getitem__)
    return counter.get_total_flops() / 2


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)


def _named_sizes(term: str, x: Tensor) -> dict[str, int]:
    """Sizes by index; those of an ellipsis are counted from the right."""
    before, dots, after = term.partition("...")
    if not dots:
        return dict(zip(term, x.shape, strict=True))
    inner = x.shape[len(before) : x.ndim - len(after)]
    found = dict(zip(before, x.shape, strict=False))
    found |= {f"...{len(inner) - place}": size for place, size in enumerate(inner)}
    return found | dict(zip(after, x.shape[x.ndim - len(after) :], strict=True))
