"""What each operation does to a sequence in time: the table that decides how it is simulated.

Operations are known by one bare name however they are written: ``F.relu``, ``torch.relu_`` and
``Tensor.relu`` are all ``relu``; ``nn.MaxPool2d`` is ``max_pool2d``. Supporting another operation
is one more name in a table.
"""

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from spikeport.convert.graph import set_item as functions
from spikeport.convert.graph.layer_table import MODULES

NAMESPACES = {
    "torch": torch,
    "F": F,
    "operator": operator,
    "math": math,
    "builtins": builtins,
    "spikeport": functions,
}

# carry the synapses: linear in their input, with weights
WEIGHTED = {
    "conv1d",
    "conv2d",
    "conv3d",
    "linear",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
}
# return their input, when the network is in eval mode
IDENTITY = {
    "identity",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
    "stochastic_depth",  # of torchvision
    "contiguous",
    "clone",
    "detach",
}
# commute with the mean over time, so they may act on every timestep by itself
LINEAR = IDENTITY | {
    "add",
    "sub",
    "rsub",
    "neg",
    "cat",
    "concat",
    "concatenate",
    "stack",
    "flatten",
    "reshape",
    "view",
    "reshape_as",
    "view_as",
    "unflatten",
    "permute",
    "transpose",
    "t",
    "swapaxes",
    "movedim",
    "squeeze",
    "unsqueeze",
    "expand",
    "expand_as",
    "repeat",
    "tile",
    "narrow",
    "select",
    "getitem",
    "chunk",
    "split",
    "split_with_sizes",
    "tensor_split",
    "unbind",
    "roll",
    "flip",
    "pad",
    "mean",
    "sum",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "interpolate",
    "upsample",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "unfold",
    "fold",
    "to",
    "float",
    "half",
    "double",
    "type",
    "type_as",
    "channel_affine",
    "set_item",
    "broadcast_to",
    "dstack",
    "hstack",
    "index_select",
    "masked_fill",
    "moveaxis",
    "repeat_interleave",
    "swapdims",
    "tril",
    "triu",
    "vstack",
    "where",
}
# of these, the ones that take from a place or another: by a mask or an index that is fixed
CHOOSING = {"index_select", "masked_fill", "where"}
# have the input's shape and not its values
SHAPE_ONLY = {"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"}
# of these, the ones that move values to other places and change none
MOVES = {
    "cat",
    "channel_shuffle",
    "chunk",
    "concat",
    "concatenate",
    "expand",
    "flatten",
    "getitem",
    "narrow",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "repeat",
    "reshape",
    "roll",
    "select",
    "split",
    "split_with_sizes",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
}
# linear in each factor: a difference op only where two factors change in time
PRODUCT = {
    "bmm",
    "div",
    "divide",
    "einsum",
    "matmul",
    "mm",
    "mul",
    "multiply",
    "true_divide",
    "truediv",
}
# F(mean) is not mean(F): evaluated on the running mean (see simulate.py)
DIFFERENCE = {
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "amax",
    "amin",
    "max",
    "min",
    "maximum",
    "minimum",
    "relu",
    "relu6",
    "hardtanh",
    "clamp",
    "clip",
    "clamp_min",
    "clamp_max",
    "leaky_relu",
    "prelu",
    "sigmoid",
    "hardsigmoid",
    "silu",
    "hardswish",
    "gelu",
    "elu",
    "celu",
    "selu",
    "mish",
    "softplus",
    "softsign",
    "tanh",
    "tanhshrink",
    "hardshrink",
    "softshrink",
    "logsigmoid",
    "log_softmax",
    "softmax",
    "softmin",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "pow",
    "square",
    "abs",
    "reciprocal",
    "sin",
    "cos",
    "erf",
    "layer_norm",
    "group_norm",
    "rms_norm",
    "local_response_norm",
    "normalize",
    "norm",
    "vector_norm",
    "var",
    "std",
    "logsumexp",
    "prod",
    "glu",
    "gru",
    "lstm",
    "scaled_dot_product_attention",
    "addcmul",
    "baddbmm",
    "cosine_similarity",
    "log1p",
    "log2",
    "expm1",
    "lerp",
    "rrelu",
    "var_mean",
    "std_mean",
}
# F(c·x) = c·F(x) for c > 0: spikes in, spikes out, no division by t (LI-pooling: Li & Zeng 2022,
# "Efficient and Accurate Conversion of Spiking Neural Network with Burst Spikes")
HOMOGENEOUS = {
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "amax",
    "maximum",
    "leaky_relu",
    "prelu",
}
# of these, the rectifiers with a slope: a signed neuron before them makes their spikes
SLOPED = {"leaky_relu", "prelu"}
# supported from outside: see extension.py
REGISTERED: set[str] = set()


def function_name(function: Callable[..., Any]) -> str | None:
    """``"F.relu"`` for ``torch.nn.functional.relu``; None for a function outside NAMESPACES."""
    return _FUNCTION_NAMES.get(function)


def name_function(name: str, function: Callable[..., Any]) -> None:
    """Make ``function_name`` and ``function_named`` know one more function."""
    _FUNCTIONS[name], _FUNCTION_NAMES[function] = function, name


def function_named(name: str) -> Callable[..., Any]:
    """The inverse of ``function_name``; raises KeyError for anything else."""
    return _FUNCTIONS[name]


def bare_name(node: fx.Node, module: nn.Module | None = None) -> str:
    """The operation of a node, e.g. ``add`` for ``x + y``, ``x.add_(y)`` and ``torch.add(x, y)``.

    Args:
        node: a call_module, call_function or call_method node.
        module: the module that a call_module node calls.
    """
    if node.op == "call_module":
        for cls in type(module).__mro__:
            if cls in MODULES:
                return MODULES[cls][0]
        return getattr(type(module), "op_name", type(module).__name__)
    if node.op == "call_method":
        name = str(node.target)
    else:
        name = (function_name(node.target) or _qualified(node.target)).rpartition(".")[2]
    if node.op == "call_function" and node.target in IN_PLACE_OPERATORS:
        return IN_PLACE_OPERATORS[node.target]
    return name.strip("_")


def writes_in_place(node: fx.Node, module: nn.Module | None = None) -> bool:
    """Whether the operation overwrites its first argument."""
    if node.op == "call_module":
        return bool(getattr(module, "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op != "call_function":
        return False
    if node.target in IN_PLACE_OPERATORS or node.kwargs.get("inplace") is True:
        return True
    if (function_name(node.target) or "").endswith("_"):
        return True
    positions = {
        F.relu: 1,
        F.relu6: 1,
        F.hardtanh: 3,
        F.dropout: 3,
        F.leaky_relu: 2,
        F.elu: 2,
        F.silu: 1,
        F.hardswish: 1,
        F.hardsigmoid: 1,
    }
    place = positions.get(node.target)
    return place is not None and len(node.args) > place and node.args[place] is True


def _qualified(target: Any) -> str:
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}"


def _named_functions() -> dict[str, Callable[..., Any]]:
    found = {}
    for space, module in NAMESPACES.items():
        if space == "builtins":
            found["builtins.getattr"] = getattr
            continue
        for name, value in vars(module).items():
            if callable(value) and not isinstance(value, type) and not name.startswith("__"):
                found[f"{space}.{name}"] = value
    return found


_FUNCTIONS = _named_functions()
_FUNCTION_NAMES: dict[Any, str] = {}
for _name, _function in _FUNCTIONS.items():
    _FUNCTION_NAMES.setdefault(_function, _name)
IN_PLACE_OPERATORS = {
    getattr(operator, f"i{name}"): name
    for name in ("add", "sub", "mul", "truediv", "matmul", "pow")
}
