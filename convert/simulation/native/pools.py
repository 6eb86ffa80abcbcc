"""Average pools that the engine takes as part of the synapses behind them."""

from typing import Any

from torch import fx, nn

from spikeport.convert.graph.nodes import module_of
from spikeport.convert.graph.same_padding import SamePadded

AVERAGES = {"avg_pool2d", "adaptive_avg_pool2d", "mean"}
LARGEST = 2**18  # inputs of one window: the engine's lists have room for all of them
NAMES = {  # of the arguments of the functions, in order
    "avg_pool2d": (
        *("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
        "divisor_override",
    ),
    "adaptive_avg_pool2d": ("input", "output_size"),
    "mean": ("input", "dim", "keepdim"),
}


def window_of(node: fx.Node, root: nn.Module, size: tuple[int, int]) -> tuple[int, int] | None:
    """The windows of an average pool, if they lie side by side without padding.

    Args:
        node: an average pool.
        root: where its module is, if it has one.
        size: (H, W) of its input.

    Returns:
        (rows, columns); None if the windows overlap, are padded or are not known before data.
    """
    module = module_of(node, root)
    options = _options(node, module)
    if isinstance(module, SamePadded) or any(
        isinstance(value, fx.Node) for value in options.values()
    ):
        return None
    if node.meta["op"] == "avg_pool2d":
        return _plain(options, size)
    if node.meta["op"] == "adaptive_avg_pool2d":
        wanted = _pair(options["output_size"])
        sides = [n if out is None else out for n, out in zip(size, wanted, strict=True)]
        if any(n % out for n, out in zip(size, sides, strict=True)):
            return None
        return size[0] // sides[0], size[1] // sides[1]
    dims = options.get("dim")
    whole = isinstance(dims, (tuple, list)) and sorted(dim % 4 for dim in dims) == [2, 3]
    return size if whole and not set(options) - {"dim", "keepdim"} else None


def _plain(options: dict[str, Any], size: tuple[int, int]) -> tuple[int, int] | None:
    kernel = _pair(options["kernel_size"])
    stride = _pair(options.get("stride") or kernel)
    fits = all(n >= k for n, k in zip(size, kernel, strict=True))
    cut = any(n % k for n, k in zip(size, kernel, strict=True)) and options.get("ceil_mode")
    plain = max(_pair(options.get("padding") or 0)) == 0 and not options.get("divisor_override")
    return kernel if stride == kernel and plain and fits and not cut else None


def _options(node: fx.Node, module: Any) -> dict[str, Any]:
    names = NAMES[node.meta["op"]]
    if module is not None:
        return {name: getattr(module, name) for name in names[1:] if hasattr(module, name)}
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    given.pop("input", None)
    return given


def _pair(value: Any) -> tuple[Any, Any]:
    if isinstance(value, (tuple, list)):
        return (value[0], value[-1])
    return (value, value)
