"""Record what a network's code does to traced values, in one thread and for one trace."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._mode_utils import no_dispatch

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import module_of, unique
from spikeport.convert.graph.set_item import set_item
from spikeport.convert.tracing import in_place
from spikeport.convert.tracing.node_values import DependsOnData, NodeValues
from spikeport.convert.tracing.register_op import rewritten
from spikeport.convert.tracing.tensor_facts import asked
from spikeport.convert.tracing.thread_mode import SeenCalls, compiled_functions_as_python
from spikeport.convert.tracing.torch_calls import aten_call, recorded_call
from spikeport.convert.tracing.traced_numbers import (
    Recorded,
    TracedBool,
    TracedFloat,
    TracedInt,
    TracedSize,
)
from spikeport.convert.tracing.traced_tensor import (
    TracedTensor,
    traced_in,
    wrapped_by_functorch,
)


class GraphRecorder:
    """Appends what happens to traced values to a graph.

    Attributes:
        graph: what was recorded so far.
        root: the copy of the network that its nodes refer to.
        path: of the module whose code runs.
        values: works out what its nodes give.
        last: the operation that was recorded last, for messages.
    """

    def __init__(self, root: nn.Module, run: Callable[[nn.Module, Any, Any], Any]) -> None:
        self.graph, self.root, self.path, self.last = fx.Graph(), root, "", ""
        self.values, self.closed = NodeValues(root, run), False
        self.write_in_place: set[nn.Module] = set()  # layers that were called
        self._mode = SeenCalls(self)
        self.constants: dict[str, Tensor] = {}  # made by the network's own code, by name
        self._constants: dict[int, tuple[Tensor, int, fx.Node]] = {}
        self._known: dict[int, TracedTensor] = {}  # real tensors with a traced one of their own
        self._written: dict[int, Tensor] = {}  # of these, the ones that the code has overwritten
        self._read: dict[Any, fx.Node] = {}  # dtypes and devices that the code has asked for

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record in this thread."""
        try:
            with torch.no_grad(), compiled_functions_as_python(), self._mode:
                yield
        finally:
            self.closed = True

    # what becomes traced

    def input(self, name: str, example: Tensor) -> TracedTensor:
        """A placeholder with the shape, dtype and device of ``example``."""
        node = self.graph.placeholder(name)
        node.meta.update(path="", value=self.values.fake.from_tensor(example.detach()))
        return TracedTensor(self, node.meta["value"], node)

    def attribute(self, path: str, tensor: Tensor) -> TracedTensor:
        """The parameter or buffer at a path of the root, a node from its first use on."""
        if id(tensor) not in self._known:

            def value() -> Tensor:
                return self.values.fake.from_tensor(tensor.detach())

            def node() -> fx.Node:
                return self._get_attr(path, made.traced_value, tensor)

            made = TracedTensor(self, tensor, node, value)
            made._is_param = isinstance(tensor, nn.Parameter)
            self._known[id(tensor)] = made
        return self._known[id(tensor)]

    def _get_attr(self, path: str, value: Tensor, tensor: Tensor) -> fx.Node:
        self.values.real[path] = tensor
        node = self.graph.create_node("get_attr", path)
        node.meta.update(path=self.path, value=value)
        return node

    def _constant(self, tensor: Tensor) -> fx.Node:
        """A tensor that the network's code made without looking at the input."""
        version = 0 if tensor.is_inference() else tensor._version
        held = self._constants.get(id(tensor))
        if held is None or held[1] != version:
            name = unique(self.root, f"_tensor_constant{len(self.constants)}")
            kept = self.constants[name] = tensor.detach().clone()
            node = self._get_attr(name, self.values.fake.from_tensor(kept), kept)
            held = self._constants[id(tensor)] = tensor, version, node
        return held[2]

    # what is done to it

    def torch_function(self, function: Any, args: Any, kwargs: Any) -> Any:
        """See ``TensorRecorder``; called for every function of torch's in this thread."""
        if not self._concerned((args, kwargs)):
            return function(*args, **kwargs)
        self._check_open(function)
        if wrapped_by_functorch((args, kwargs)):
            return self._beneath(function, args, kwargs)
        with self._named():
            found = asked(self, function, args, kwargs)
            if found is not NotImplemented:
                return found
            call = recorded_call(function, args, kwargs)
        return self.call(*call)

    def untraced_function(self, function: Any, args: Any, kwargs: Any) -> Any:
        """See ``TensorRecorder``: what it calls comes back as operators of aten."""
        self._check_open(function)
        return self._beneath(function, args, kwargs)

    def aten_operator(self, overload: Any, args: Any, kwargs: Any) -> Any:
        """See ``TensorRecorder``."""
        self._check_open(overload)
        with self._named():
            call = aten_call(overload, args, kwargs)
        return self.call(*call)

    def call_module(self, path: str, args: Any, kwargs: Any) -> Any:
        """The traced result of a layer that stays whole."""
        return self.call("call_module", path, args, kwargs)

    def call(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """Record a call, or what a user registered instead of it.

        Raises:
            ConversionError: its result depends on data, or it has no form in a graph.
        """
        instead = rewritten(kind, target)
        if instead is not None:
            with self._mode:
                return instead(*args, **kwargs)
        if "out" in kwargs and isinstance(kwargs["out"], Tensor):
            rest = {key: value for key, value in kwargs.items() if key != "out"}
            return self._write(kwargs["out"], kind, target, args, rest)
        if kind == "call_method" and target in in_place.RESHAPING_IN_PLACE:
            return self._reshape(target, args, kwargs)
        module = self.root.get_submodule(target) if kind == "call_module" else None
        with self._named():
            plain = in_place.out_of_place((kind, target, args, kwargs), module)
        if plain is not None:
            if module is not None:
                self.write_in_place.add(module)
            written = args[0] if args else kwargs["input"]
            return self._write(written, *plain)
        try:
            node = self._node(kind, target, args, kwargs)
        except DependsOnData:
            (real, named) = self.concrete((args, kwargs), self.last)
            with torch._C.DisableTorchFunction():
                if kind == "call_method":
                    return getattr(real[0], target)(*real[1:], **named)
                return target(*real, **named)
        return self._wrap(node, node, node.meta["value"], list(traced_in((args, kwargs))))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say in which module something was refused."""
        try:
            yield
        except ConversionError as cause:
            if str(cause).startswith("module '"):
                raise
            raise type(cause)(f"module '{self.path or 'top'}': {cause}") from cause.__cause__

    def _write(self, written: Any, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """Record a call whose result takes the place of a tensor's value."""
        traced = self.adopted(written)
        node = self._node(kind, target, args, kwargs)
        old, new = traced.traced_value, node.meta["value"]
        if new.shape != old.shape:
            raise ConversionError(
                f"module '{self.path or 'top'}': '{self.last}' gives a tensor {list(old.shape)} "
                f"another shape, {list(new.shape)}, in place; write it out of place"
            )
        if new.dtype != old.dtype:
            node = self.append("call_method", "to", (node, old.dtype), {}, old)
        node.meta["value"] = old  # views of it are recognised by the memory that they share
        traced.become(node)
        return written

    def _reshape(self, target: str, args: Any, kwargs: Any) -> Any:
        """A tensor becomes a view of what it was."""
        tensor = args[0]
        before = TracedTensor(self, tensor.traced_value, tensor.fx_node)
        before.take_over(tensor)
        made = self.call("call_method", target.rstrip("_"), (before, *args[1:]), kwargs)
        tensor.take_over(made)
        with torch._C.DisableTorchFunction(), no_dispatch():
            getattr(Tensor, target)(*args, **kwargs)  # what C++ code reads, too
        return tensor

    def set_item(self, tensor: Tensor, index: Any, value: Any) -> None:
        """``tensor[index] = value``."""
        if type(value) is TracedTensor and type(tensor) is TracedTensor:
            view = value.view_of
            current = value.memory is tensor.memory and value.seen == value.memory.version
            taken = isinstance(view, in_place.View) and view.parent is tensor and current
            if taken and view.is_item(self._argument(index)):  # type: ignore[union-attr]
                return  # ``x[index] += 1`` has written it already
        self._write(tensor, "call_function", set_item, (tensor, index, value), {})

    def adopted(self, tensor: Tensor) -> TracedTensor:
        """The traced tensor that stands for a real one from its being overwritten on."""
        if type(tensor) is TracedTensor:
            return tensor
        made = self._known.get(id(tensor))
        if made is None:
            node = self._constant(tensor)
            made = self._known[id(tensor)] = TracedTensor(self, node.meta["value"], node)
        self._written[id(tensor)] = tensor
        return made

    # nodes and their values

    def _node(self, kind: str, target: Any, args: Any, kwargs: Any) -> fx.Node:
        """A node with its value worked out on fake tensors."""
        self.last = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        node = self.graph.create_node(kind, target, self._argument(args), self._argument(kwargs))
        node.meta["path"] = target if kind == "call_module" else self.path
        try:
            with self._named():
                node.meta["value"] = self.values.evaluate(node, self.last)
        except BaseException:
            self.graph.erase_node(node)  # the network's code may know what to do instead
            raise
        return node

    def append(self, kind: str, target: Any, args: Any, kwargs: Any, value: Any) -> fx.Node:
        """A node whose value is known."""
        node = self.graph.create_node(kind, target, args, kwargs)
        node.meta.update(path=self.path, value=value)
        return node

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls."""
        return module_of(node, self.root)

    # arguments and results

    def _argument(self, value: Any) -> Any:
        """An argument as a node holds it."""
        if isinstance(value, Tensor):
            if type(value) is TracedTensor:
                return value.fx_node
            known = self._known.get(id(value))
            return self._constant(value) if known is None else known.fx_node
        if isinstance(value, Recorded):
            return value.fx_node
        if isinstance(value, (tuple, list)):
            items = [self._argument(item) for item in value]
            if hasattr(value, "_fields"):
                return type(value)(*items)
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, dict):
            return {key: self._argument(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(*map(self._argument, (value.start, value.stop, value.step)))
        if isinstance(value, (torch.dtype, torch.device)) and value in self._read:
            # most likely what was read off that tensor: the network may be moved and cast
            name = "dtype" if isinstance(value, torch.dtype) else "device"
            return self.append("call_function", getattr, (self._read[value], name), {}, value)
        if type(value).__module__ == "numpy" and hasattr(value, "item") and not value.shape:
            return value.item()
        return value

    def output(self, value: Any, form: Any) -> None:
        """End the graph with the value that the network returns; see ``output_types``."""
        node = self.graph.output(self._argument(value))
        node.meta["path"] = ""
        if form is not None:
            node.meta["form"] = form

    def read(self, tensor: TracedTensor, fact: Any) -> Any:
        """The dtype or device of a tensor, which the network's code has asked for."""
        if not isinstance(fact, torch.dtype) or fact.is_floating_point:
            self._read[fact] = tensor.fx_node
        return fact

    def _wrap(self, call: fx.Node, node: Any, value: Any, sources: list[TracedTensor]) -> Any:
        """A node's value, or a part of it, for the network's code to go on with."""
        if isinstance(value, Tensor):
            made = TracedTensor(self, value, node)
            for source in sources:
                if in_place.shares_memory(value, source.traced_value):
                    in_place.become_view(made, call, source, self.append)
                    break
            return made
        for kind, traced in ((bool, TracedBool), (int, TracedInt), (float, TracedFloat)):
            if type(value) is kind:
                return traced(self, value, node)
        if isinstance(value, (tuple, list)) and value:
            if all(type(item) is int for item in value):
                return self.size(node, value)
            items = [
                self._wrap(call, self._item(node, index, item), item, sources)
                for index, item in enumerate(value)
            ]
            if hasattr(value, "_fields"):
                return type(value)(*items)
            return type(value)(items)
        if isinstance(value, dict):
            return {
                key: self._wrap(call, self._item(node, key, item), item, sources)
                for key, item in value.items()
            }
        return value

    def _item(self, node: fx.Node, index: Any, value: Any) -> fx.Node:
        return self.append("call_function", operator.getitem, (node, index), {}, value)

    def shape(self, tensor: TracedTensor) -> TracedSize:
        """The sizes of a tensor, to be read off it in the graph where they are needed."""
        node, value = tensor.fx_node, tensor.traced_value.shape
        made = self.size(
            lambda: self.append("call_function", getattr, (node, "shape"), {}, value), value
        )
        made.whole = True
        return made

    def size(self, node: Any, value: Any) -> TracedSize:
        """A shape whose numbers become nodes when they are needed."""
        found: list[TracedSize] = []

        def item(index: int) -> TracedInt:
            def make() -> fx.Node:
                return self._item(found[0].fx_node, index, value[index])

            return TracedInt(self, value[index], make)

        found.append(TracedSize(self, value, [item(i) for i in range(len(value))], node))
        return found[0]

    def concrete(self, value: Any, name: str) -> Any:
        """A traced value as a real one, where it does not depend on the input's data.

        Args:
            value: nested, with traced values in it.
            name: what needs it, for the message.

        Raises:
            ConversionError: it does.
        """
        self.last = name
        with self._named():
            return self.values.concrete(self._argument(value), name)

    # which calls are recorded

    def _concerned(self, value: Any) -> bool:
        """Whether there is a traced value in nested arguments."""
        if isinstance(value, Tensor):
            if type(value) is TracedTensor:
                return True
            return bool(self._written) and self._is_written(value)
        if isinstance(value, (list, tuple)):
            return isinstance(value, Recorded) or any(map(self._concerned, value))
        if isinstance(value, dict):
            return any(map(self._concerned, value.values()))
        if isinstance(value, slice):
            return any(map(self._concerned, (value.start, value.stop, value.step)))
        return isinstance(value, Recorded)

    def _is_written(self, tensor: Tensor) -> bool:
        if id(tensor) in self._written:
            return True
        if any(in_place.shares_memory(tensor, other) for other in self._written.values()):
            raise ConversionError(
                f"module '{self.path or 'top'}': a tensor is used that shares its memory with one "
                "into which the network's code wrote what depends on the input; take the view "
                "after the writing, or write it out of place"
            )
        return False

    def _beneath(self, function: Any, args: Any, kwargs: Any) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **kwargs)

    def _check_open(self, function: Any) -> None:
        if self.closed:
            raise ConversionError(
                f"'{getattr(function, '__name__', function)}' is called on a tensor of a trace "
                "that is over: the network's code has kept a value outside the network, where a "
                "later call finds it; keep it in the module, or do not keep it"
            )
