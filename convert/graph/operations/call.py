"""One call of an operation: its arguments by name, wherever they are given."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert.graph.nodes import call_node, module_of


class Call:
    """A node that calls something, its module and the values of the nodes that it reads.

    Args:
        node: a call_function, call_method or call_module node.
        arguments: names of the function's positional arguments; see ``Operation.arguments``.
        root: holds the modules.
        values: by node; arguments that are nodes without a value stay nodes.

    Attributes:
        node, root, values: see above.
        module: that the node calls, if it calls one.
    """

    def __init__(
        self,
        node: fx.Node,
        arguments: Sequence[str],
        root: nn.Module,
        values: Mapping[fx.Node, Any] | None = None,
    ) -> None:
        self.node, self.root, self.values = node, root, values or {}
        self.module: Any = module_of(node, root)
        self._names = arguments

    def given(self, name: str, default: Any = None) -> Any:
        """An argument as the graph has it (nodes stay nodes), or the module's attribute."""
        if self.module is not None and hasattr(self.module, name):
            return getattr(self.module, name)
        if name in self.node.kwargs:
            return self.node.kwargs[name]
        for place, known in enumerate(self._names):
            if known == f"*{name}":
                rest = self.node.args[place:]
                alone = len(rest) == 1 and isinstance(rest[0], (tuple, list))
                return (rest[0] if alone else tuple(rest)) if rest else default
            if known == name:
                return self.node.args[place] if place < len(self.node.args) else default
        return default

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument, with the values of nodes in their places."""
        return self.resolved(self.given(name, default))

    def resolved(self, argument: Any) -> Any:
        """Anything in whose places of nodes stand the values that they have."""
        return fx.node.map_arg(argument, lambda node: self.values.get(node, node))

    @property
    def source(self) -> fx.Node:
        """The node that it reads first."""
        return next(iter(self.node.all_input_nodes))

    @property
    def value(self) -> Any:
        """The value of the node itself."""
        return self.values[self.node]

    def leaves(self) -> list[Any]:
        """All arguments, out of their containers."""
        return pytree.tree_leaves((self.node.args, self.node.kwargs))

    def evaluated(self, value_of: Callable[[fx.Node], Any]) -> Any:
        """The result on other values of the nodes that it reads."""
        args, kwargs = fx.node.map_arg((self.node.args, self.node.kwargs), value_of)
        return call_node(self.root, self.node, args, kwargs)
