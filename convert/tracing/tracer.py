"""Trace a network into a graph whose every node knows the shape of its value.

Plain ``torch.fx.symbolic_trace`` stops at the first ``if x.shape[0] > 1``. Here every proxy carries
a fake tensor (shape and dtype, no data), so that shape arithmetic, ``len``, ``isinstance`` and
comparisons in the source network's own code run as they would on a real input. Each decision
taken that way is kept as a guard, and checked again on inputs of another shape.
"""

import math
import operator
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import call_node, location, module_of
from spikeport.convert.graph.operations.spelling import function_name
from spikeport.convert.graph.recurrent import Recurrent
from spikeport.convert.graph.same_padding import SamePadded
from spikeport.convert.graph.set_item import set_item
from spikeport.convert.tracing.register_op import LEAVES, rewritten
from spikeport.convert.tracing.source_copy import plain_copy

# made of torch's other layers, but counted among them
COMPOSED = (
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)
FACTORIES = ("arange", "zeros", "ones", "full", "empty", "linspace", "eye")


class TracedValue(fx.Proxy):
    """A proxy that also holds the (fake) value of its node."""

    @property
    def value(self) -> Any:
        """Fake tensor, number, or structure of these that the node evaluates to."""
        return self.node.meta["value"]

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # isinstance(x, Tensor) in the traced code has to take the branch of a real input
        value = self.__dict__["node"].meta.get("value")
        known = (Tensor, int, float, str, tuple, list, dict)
        return (
            Tensor
            if isinstance(value, Tensor)
            else type(value)
            if isinstance(value, known)
            else TracedValue
        )

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.value, name)
        if isinstance(self.value, torch.device):  # "cpu", as torch.autocast wants to know
            return found
        if callable(found):
            return fx.proxy.Attribute(self, name)
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def _decided(self, convert: Callable[[Any], Any]) -> Any:
        if isinstance(self.value, Tensor):
            raise ConversionError(
                f"{location(self.node)}: the network's code depends on the data of a tensor "
                f"(node '{self.node.name}'); a spiking graph is the same for every input. "
                "Convert a submodule, or rewrite this part without the data-dependent branch."
            )
        found = convert(self.value)  # before the guard: torch tries __index__ on whole sizes too
        self.node.meta["guard"] = self.value
        return found

    def __bool__(self) -> bool:
        return bool(self._decided(bool))

    def __int__(self) -> int:
        return int(self._decided(int))

    def __index__(self) -> int:
        return int(self._decided(operator.index))

    def __float__(self) -> float:
        return float(self._decided(float))

    def __ceil__(self) -> int:
        return int(self._decided(math.ceil))

    def __floor__(self) -> int:
        return int(self._decided(math.floor))

    def __hash__(self) -> int:
        return id(self)

    def __len__(self) -> int:
        if isinstance(self.value, Tensor):
            return int(self.shape[0])
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __setitem__(self, index: Any, value: Any) -> None:
        # the variable goes on as the tensor that was written; torch has nothing to record here
        self.node = self.tracer.create_proxy(
            "call_function", set_item, (self, index, value), {}
        ).node

    def __contains__(self, item: object) -> bool:
        return item in self.value

    def keys(self) -> Any:
        """Keys of a dict-valued node: they are part of the program, not of the data."""
        return self.value.keys()


class ShapeTracer(fx.Tracer):
    """``fx.Tracer`` with values: see the module's docstring."""

    def __init__(self) -> None:
        super().__init__(param_shapes_constant=False)
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.evaluating = False
        self.example: Tensor | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """torch's own layers stay modules; everything else is traced through."""
        if isinstance(m, (SamePadded, Recurrent)) or type(m) in LEAVES:
            return True
        if isinstance(m, COMPOSED):
            return False
        return super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> TracedValue:
        """Wrap a node; called by fx for each one it creates."""
        return TracedValue(node, self)

    def create_arg(self, a: Any) -> Any:
        """Turn a proxy into its node before fx can take it for what its class claims to be."""
        if type(a) is TracedValue:
            return a.node
        if type(a) is fx.proxy.Attribute:
            return a.node
        if isinstance(a, tuple) and hasattr(a, "_fields"):  # fx would call its class in the graph
            return type(a)(*map(self.create_arg, a))
        return super().create_arg(a)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any
    ) -> Any:
        """Record a call, or what a user registered instead of it, or what a library's own does."""
        instead = rewritten(kind, target)
        if instead is None and kind == "call_function" and _wrapped(target):
            instead = target
        if instead is not None:
            return instead(*args, **kwargs)
        return super().create_proxy(kind, target, args, kwargs, *rest, **more)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Create the node, then work out its value on fake tensors."""
        node = super().create_node(*args, **kwargs)
        node.meta["path"] = _path(node)
        if node.op != "output":
            node.meta["value"] = self._evaluate(node)
        return node

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Record a leaf or trace through; plain execution while a value is worked out."""
        if self.evaluating:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Parameters become get_attr nodes, except while a value is worked out."""
        if self.evaluating:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def _evaluate(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self.example
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        self.evaluating = True
        try:
            with torch.no_grad():
                if type(module_of(node, self.root)) in LEAVES:
                    return self._evaluate_for_real(node, args, kwargs)
                with self.fake:
                    return call_node(self.root, node, args, kwargs)
        finally:
            self.evaluating = False

    def _evaluate_for_real(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """A call on zeros: a user's module may look at its data, which fake tensors do not have."""
        zeros = pytree.tree_map_only(
            Tensor, lambda v: torch.zeros(v.shape, dtype=v.dtype, device=v.device), (args, kwargs)
        )
        found = call_node(self.root, node, *zeros)
        return pytree.tree_map_only(Tensor, self.fake.from_tensor, found)


def _wrapped(function: Any) -> bool:
    """Whether it is code that ``torch.fx.wrap`` hides from fx's tracer, and nobody registered."""
    python = isinstance(function, types.FunctionType) and function_name(function) is None
    return python and not function.__module__.startswith(("torch.", "spikeport."))


class _Entry(nn.Module):
    """Calls the network with one argument, so that its optional ones keep their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x)


def trace(
    network: nn.Module, example: Tensor, simplify: Callable[[nn.Module], None] | None = None
) -> tuple[fx.Graph, nn.Module]:
    """Record what ``network`` does to an input shaped like ``example``.

    Args:
        network: the source network, in eval mode; never modified.
        example: one calibration batch, [B, C, ...]; only its shape, dtype and device are read.
        simplify: rewrites the copy before it is traced, without changing what it computes.

    Returns:
        The graph and the copy of the network that its nodes refer to. Every node has
        ``meta["value"]`` (fake tensor or Python value), ``meta["path"]`` (module path in the source
        network) and, where Python code decided on it, ``meta["guard"]`` (the value it had).

    Raises:
        ConversionError: the network cannot be traced; the message names the module and the cause.
    """
    tracer = ShapeTracer()
    root = plain_copy(network)
    if tracer.is_leaf_module(root, ""):
        root = nn.Sequential(root)  # a graph can only call a module that has a name
    if simplify is not None:
        simplify(root)
    tracer.example = tracer.fake.from_tensor(example.detach())
    try:
        with _proxied_factories():
            entry = _Entry(root)
            graph = tracer.trace(entry)
    except ConversionError:
        raise
    except Exception as cause:
        where = next(reversed(tracer.module_stack.values()), ("", None))[0]
        path = where.removeprefix("network").lstrip(".") or "the top module"
        raise ConversionError(
            f"'{type(network).__name__}' cannot be traced: {type(cause).__name__} in '{path}': "
            f"{cause}. Convert a submodule (for example the backbone), or rewrite that part."
        ) from cause
    graph._tracer_cls = None
    for name, value in list(vars(entry).items()):  # tensors made by the network's own code
        if isinstance(value, Tensor):
            root.register_buffer(name, value)
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            node.target = _without_entry(node.target)
    return graph, root


def _without_entry(target: str) -> str:
    return target.removeprefix("network").lstrip(".")


def _path(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return _without_entry(next(reversed(stack.values()))[0]) if stack else ""


@contextmanager
def _proxied_factories() -> Iterator[None]:
    """Record ``torch.zeros(proxy, ...)``: factories do not dispatch on their sizes."""
    originals = {name: getattr(torch, name) for name in FACTORIES}

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        def factory(*args: Any, **kwargs: Any) -> Any:
            found: list[TracedValue] = []
            pytree.tree_map(
                lambda a: found.append(a) if type(a) is TracedValue else None, (args, kwargs)
            )
            if not found or found[0].tracer.evaluating:
                return original(*args, **kwargs)
            return found[0].tracer.create_proxy("call_function", original, args, kwargs)

        return factory

    try:
        for name, original in originals.items():
            setattr(torch, name, recording(original))
        yield
    finally:
        for name, original in originals.items():
            setattr(torch, name, original)
