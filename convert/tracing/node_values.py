"""Values of the nodes of a graph under construction: on tensors without data, or real ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._prims_common import suggest_memory_format
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import call_node, module_of
from spikeport.convert.tracing.register_op import LEAVES

# torch works out their result without data step by step, which takes longer than all other layers
BATCH_NORMS = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}  # dimensions
RunModule = Callable[[nn.Module, Any, Any], Any]  # with arguments and keyword arguments


class DependsOnData(ConversionError):
    """An operation whose result, or the shape of it, only real data tell."""

    @classmethod
    def by(cls, name: str) -> "DependsOnData":
        """The refusal of an operation by its name."""
        return cls(
            f"the network's code depends on the data of a tensor ('{name}'); a spiking graph is "
            "the same for every input. Convert a submodule, or rewrite this part without the "
            "data-dependent branch."
        )


def _is_batch_norm_of(module: Any, x: Any) -> bool:
    """Whether a module is a batch norm that takes a value; what others say to it is torch's."""
    dimensions = BATCH_NORMS.get(type(module), ())
    return isinstance(x, FakeTensor) and x.ndim in dimensions and x.shape[1] == module.num_features


class NodeValues:
    """Works out the values of nodes.

    Attributes:
        fake: makes tensors without data.
        real: what the graph's ``get_attr`` nodes read, by path.
        evaluating: whether the code of a module runs for that purpose only.
    """

    def __init__(self, root: nn.Module, run: RunModule) -> None:
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.real: dict[str, Tensor] = {}
        self.evaluating = False
        self._root, self._run = root, run

    def evaluate(self, node: fx.Node, name: str) -> Any:
        """The value of a node whose arguments have theirs, on fake tensors.

        Args:
            node: calls something.
            name: of what it calls, for messages.

        Raises:
            ConversionError: it depends on data.
        """
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        try:
            with self._undisturbed():
                module = module_of(node, self._root)
                if type(module) in LEAVES:
                    return self._evaluate_for_real(module, args, kwargs)
                with self.fake:
                    return self._call(node, args, kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException) as cause:
            raise DependsOnData.by(name) from cause
        except UnsupportedOperatorException as cause:
            raise ConversionError(
                f"'{name}' has no shape that is known without data; say how it acts in time with "
                "spikeport.register_op, or write it otherwise"
            ) from cause

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        module = module_of(node, self._root)
        if module is None:
            return call_node(self._root, node, args, kwargs)
        if len(args) == 1 and _is_batch_norm_of(module, args[0]):
            return torch.empty_like(args[0], memory_format=suggest_memory_format(args[0]))
        return self._run(module, args, kwargs)

    def _evaluate_for_real(self, module: Any, args: Any, kwargs: Any) -> Any:
        """A call on zeros: a user's module may look at its data, which fake tensors do not have."""
        zeros = pytree.tree_map_only(
            Tensor, lambda v: torch.zeros(v.shape, dtype=v.dtype, device=v.device), (args, kwargs)
        )
        found = self._run(module, *zeros)
        return pytree.tree_map_only(Tensor, self.fake.from_tensor, found)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Record nothing meanwhile, and let autocast keep no weight without data."""
        before, cached = self.evaluating, torch.is_autocast_cache_enabled()
        self.evaluating = True
        torch.set_autocast_cache_enabled(False)
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                yield
        finally:
            self.evaluating = before
            torch.set_autocast_cache_enabled(cached)

    def concrete(self, argument: Any, name: str) -> Any:
        """Nested arguments with the real values of the nodes in them.

        Sizes among them become guards.

        Args:
            argument: of a node.
            name: of what needs the values, for the message.

        Raises:
            ConversionError: they depend on the data of the input.
        """
        found, sizes = self._computed(argument, name)
        for node in sizes:
            node.meta["guard"] = node.meta["value"]
        return found

    def number(self, node: fx.Node, function: Callable[[Tensor], Any]) -> Any:
        """A number of a tensor on which the network's code decides; it becomes a guard itself.

        Args:
            node: of the tensor.
            function: what the code calls, such as ``Tensor.item``.

        Raises:
            ConversionError: it depends on the data of the input.
        """
        real, sizes = self._computed(node, function.__name__)
        found = function(real)
        if sizes:
            node.meta["guard"] = found
        return found

    def _computed(self, argument: Any, name: str) -> tuple[Any, list[fx.Node]]:
        """Nested arguments with real values, and the nodes of sizes that these come from."""
        values: dict[fx.Node, Any] = {}
        sizes: list[fx.Node] = []

        def compute(node: fx.Node) -> Any:
            if node not in values:
                values[node] = self._concrete(node, compute, sizes, name)
            return values[node]

        return fx.node.map_arg(argument, compute), sizes

    def _concrete(
        self,
        node: fx.Node,
        compute: Callable[[fx.Node], Any],
        sizes: list[fx.Node],
        name: str,
    ) -> Any:
        value = node.meta["value"]
        if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value)):
            if not isinstance(value, (torch.dtype, torch.device)):
                sizes.append(node)
            return value
        if node.op == "placeholder":
            raise DependsOnData.by(name)
        if node.op == "get_attr":
            return self.real[str(node.target)].detach()
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), compute)
        with self._undisturbed():
            return self._call(node, args, kwargs)
