"""Average pools that the engine takes as part of the synapses behind them."""

from torch import fx, nn

from spikeport.convert.graph.operations.table import call_of

LARGEST = 2**18  # inputs of one window: the engine's lists have room for all of them


def window_of(node: fx.Node, root: nn.Module, size: tuple[int, int]) -> tuple[int, int] | None:
    """The windows of an average pool, if they lie side by side without padding.

    Args:
        node: an average pool.
        root: where its module is, if it has one.
        size: (H, W) of its input.

    Returns:
        (rows, columns); None if the windows overlap, are padded or are not known before data.
    """
    known = call_of(node, root)
    if known is None or known[0].window is None:
        return None
    row, call = known
    return row.window(call, size) if row.window is not None else None
