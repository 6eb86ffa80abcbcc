"""A graph as plain records, for pickle: functions by their names, nodes by theirs.

``torch.fx`` pickles the functions themselves, of which some of torch's cannot be pickled, and its
nodes as a linked list, which a deep network makes too deep for pickle.
"""

from typing import Any, NamedTuple

from torch import fx

from spikeport.convert.graph.operations.spelling import function_name, function_named


class Reference(NamedTuple):
    """A node in the arguments of another.

    Attributes:
        name: of the node.
    """

    name: str


class Records(list[tuple[Any, ...]]):
    """One tuple for each node, in order. No part of one is ever changed, so none is copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Records":
        return self


def to_records(graph: fx.Graph) -> Records:
    """Records of a graph."""
    return Records(_record(node) for node in graph.nodes)


def from_records(records: Records) -> fx.Graph:
    """The graph that ``to_records`` described."""
    graph, nodes = fx.Graph(), dict[str, fx.Node]()
    for op, name, target, args, kwargs, meta in records:
        function = function_named(target[0]) if isinstance(target, tuple) else target
        given = _with_nodes((args, kwargs), nodes)
        node = graph.create_node(op, function, *given, name=name)
        node.meta = dict(meta)
        nodes[name] = node
    return graph


def _record(node: fx.Node) -> tuple[Any, ...]:
    named = function_name(node.target) if node.op == "call_function" else None
    target = node.target if named is None else (named,)
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: Reference(n.name))
    return node.op, node.name, target, args, kwargs, node.meta


def _with_nodes(value: Any, nodes: dict[str, fx.Node]) -> Any:
    if isinstance(value, Reference):
        return nodes[value.name]
    if isinstance(value, tuple):
        items = [_with_nodes(item, nodes) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, list):
        return [_with_nodes(item, nodes) for item in value]
    if isinstance(value, dict):
        return {key: _with_nodes(item, nodes) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_with_nodes(v, nodes) for v in (value.start, value.stop, value.step)))
    return value
