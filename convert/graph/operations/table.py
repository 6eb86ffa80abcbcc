"""The table of operations: the row of every node that calls something.

Supporting another operation is one more row in a file of ``rows``; a user's own is registered
(see ``register_op``).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx, nn

from spikeport.convert.graph.operations import spelling
from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.operation import Operation
from spikeport.convert.graph.operations.rows import (
    activations,
    elementwise,
    fixed,
    linear,
    moving,
    pooling,
    products,
    reducing,
    steps,
    weighted,
)

FAMILIES = (
    weighted,
    pooling,
    moving,
    linear,
    products,
    activations,
    reducing,
    elementwise,
    steps,
    fixed,
)
REGISTERED: dict[str, Operation] = {}  # by a user, by name


def rows() -> Iterator[Operation]:
    """All rows, those of users last."""
    for family in FAMILIES:
        yield from family.ROWS
    yield from REGISTERED.values()


def _collect() -> tuple[dict[str, Operation], dict[type[nn.Module], Operation]]:
    names: dict[str, Operation] = {}
    layers: dict[type[nn.Module], Operation] = {}
    for row in rows():
        for name in row.names:
            if name in names:
                raise AssertionError(f"two rows know the operation '{name}'")
            names[name] = row
        layers.update(dict.fromkeys(row.layers, row))
    return names, layers


_BY_NAME, _BY_LAYER = _collect()


def row_named(name: str) -> Operation | None:
    """The row of a bare name or alias."""
    return REGISTERED.get(name) or _BY_NAME.get(name)


def row_of_layer(cls: type[nn.Module]) -> Operation | None:
    """The row of a class of modules, or of the class that it is derived from."""
    for base in cls.__mro__:
        if base in _BY_LAYER:
            return _BY_LAYER[base]
    return row_named(getattr(cls, "op_name", cls.__name__))


def layer_classes() -> dict[str, type[nn.Module]]:
    """The classes of modules of all rows, by name."""
    return {cls.__name__: cls for cls in _BY_LAYER}


def layer_arguments(cls: type[nn.Module]) -> tuple[str, ...] | None:
    """The constructor arguments that a file keeps of a class; None for one of no row."""
    row = _BY_LAYER.get(cls)
    return row.layers[cls] if row is not None else None


def operation_name(node: fx.Node, module: nn.Module | None = None) -> str:
    """The name of a node's operation: that of its row, or as it is written where there is none."""
    row = row_of_layer(type(module)) if module is not None else None
    if row is not None:
        return row.name
    written = spelling.written_name(node, module)
    row = row_named(written)
    return row.name if row is not None else written


def row_of(node: fx.Node) -> Operation | None:
    """The row of a node of a canonical graph; None for a neuron and for what nobody knows."""
    return row_named(node.meta["op"]) if "op" in node.meta else None


def call_of(
    node: fx.Node, root: nn.Module, values: Mapping[fx.Node, Any] | None = None
) -> tuple[Operation, Call] | None:
    """The row of a node and its call; None where there is no row."""
    row = row_of(node)
    return None if row is None else (row, row.call(node, root, values))
