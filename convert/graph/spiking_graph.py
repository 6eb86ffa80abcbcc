"""The program of a spiking network, its analog reading and the checks of what it is given."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.batches import Batch, take_apart
from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import (
    attribute,
    call_node,
    exists,
    module_at,
    name_nodes,
    place,
    place_tensor,
    returned,
)
from spikeport.convert.graph.portable import from_records, to_records
from spikeport.convert.graph.traced_inputs import TracedInput, require_like, traced_inputs
from spikeport.convert.graph.weight_grid import WeightGrid, grid_of
from spikeport.convert.inputs import Input, Inputs, Signature, shapes, tensors_of
from spikeport.convert.neurons import NeuronLayer
from spikeport.convert.output_types import typed
from spikeport.cpu import loader
from spikeport.cuda.available import why_unavailable

BACKENDS = ("auto", "torch", "cpu", "cuda")


class SpikingGraph(nn.Module):
    """A traced network with neurons in the places of its activations: what every room may read.

    ``SpikingNetwork`` adds simulation in time. A graph is a ``torch.fx.Graph`` over the submodules;
    ``meta["role"]`` of a node says what it is in time (``roles.py``), ``meta["op"]`` names its row
    in the table of operations, ``meta["shape"]`` the shape of its value at conversion.

    Attributes:
        graph: the program.
        traced_shape: shape of the batch it was traced with; of several inputs, that of the first.
        signature: names of the source network's arguments, and those that are no tensors.
        info: how it was made (source, neuron, recipe, calibration), JSON-able; travels with save.
        readout_delay: share of the timesteps that the readout leaves out, in [0, 1): the first
            ones, in which the spikes have not come through all layers. 0: none; see
            ``DelayedReadout``.
        encoding: how an input is presented over the timesteps; see ``SpikingNetwork.encoding``.
    """

    encoding: Any

    def __init__(
        self, graph: fx.Graph, root: nn.Module, traced_shape: tuple[int, ...], info: dict[str, Any]
    ) -> None:
        super().__init__()
        self.traced_shape = tuple(traced_shape)
        self.info = info
        self.signature = Signature()
        self.readout_delay = 0.0
        self._backend = "auto"
        self._taken: set[tuple[tuple[int, ...], ...]] = set()  # sizes that were found to fit
        for node in graph.nodes:
            value = node.meta.pop("value", None)
            if isinstance(value, Tensor):
                node.meta["shape"] = list(value.shape)
                if node.op == "placeholder":
                    node.meta["dtype"] = str(value.dtype).removeprefix("torch.")
            node.meta.pop("nn_module_stack", None)
        self.graph = graph
        name_nodes(self.graph)
        self._adopt(root)
        self.eval()

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickle; see ``portable.py``."""
        return {**super().__getstate__(), "graph": to_records(self.graph)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "graph": from_records(state["graph"])})

    def _adopt(self, root: nn.Module) -> None:
        """Take over what the graph refers to, parents before children."""
        targets = {
            (node.op, str(node.target))
            for node in self.graph.nodes
            if node.op in ("call_module", "get_attr")
        }
        for op, path in sorted(targets, key=lambda item: (item[1].count("."), item[1])):
            self._require_free_name(path)
            value = attribute(root, path)
            if op == "call_module":
                bare = copy.copy(value)
                bare._modules = {}
                place(self, path, bare)
        for op, path in sorted(targets):
            if op == "get_attr" and not exists(self, path):
                value = attribute(root, path)
                place_tensor(self, path, value.detach())
                if isinstance(value, nn.Parameter):
                    parent, _, name = path.rpartition(".")
                    holder = self.get_submodule(parent)
                    del holder._buffers[name]
                    holder.register_parameter(name, value)

    def _require_free_name(self, path: str) -> None:
        name = path.partition(".")[0]
        taken = {*dir(type(self)), *vars(self)}
        if name in taken and name not in self._modules:
            raise ConversionError(
                f"the model's attribute '{name}' has the name of an attribute of SpikingNetwork; "
                "rename it, or convert the model inside an nn.Sequential(model)"
            )

    @property
    def neurons(self) -> dict[str, NeuronLayer]:
        """The neuron layers by name, in the order in which they fire."""
        found = {}
        for node in self.graph.nodes:
            if node.meta["role"] == "neuron":
                found[str(node.target)] = self.neuron(str(node.target))
        return found

    @property
    def integer_weights(self) -> dict[str, WeightGrid]:
        """The layers whose weights are integers of at most 8 bits times a scale, by name.

        They are those that were quantised in training. Read off the weights at every call.
        """
        called = {str(n.target) for n in self.graph.nodes if n.op == "call_module"}
        weighted = [name for name, _ in self.named_modules() if name in called]
        grids = {name: grid_of(self.get_submodule(name)) for name in weighted}
        return {name: grid for name, grid in grids.items() if grid is not None}

    def neuron(self, name: str) -> NeuronLayer:
        """The neuron layer of a name; raises ConversionError where there is none."""
        layer = module_at(self, name)
        if not isinstance(layer, NeuronLayer):
            raise ConversionError(f"'{name}' is a {type(layer).__name__}, not a neuron layer")
        return layer

    @property
    def backend(self) -> str:
        """``"torch"``, ``"cpu"``, ``"cuda"`` or ``"auto"``: what simulates the timesteps.

        ``"cpu"``, the native engine, is for inference in float32 without hooks; layers that it does
        not know, or not for the images of a call, are computed by torch inside its run, and
        ``torch.autocast`` has no effect in it. ``"cuda"``, CuPy kernels around torch's
        convolutions, is for networks on a GPU. ``"auto"`` takes them for every inference that they
        suit, and torch for the other calls.
        """
        return self._backend

    @backend.setter
    def backend(self, name: str) -> None:
        if name not in BACKENDS:
            raise ConversionError(f"unknown backend {name!r}; expected one of {BACKENDS}")
        if name == "cuda" and why_unavailable():
            reason = f"{why_unavailable()} Or use 'torch', which also runs on GPUs"
            raise ConversionError(f"backend 'cuda': {reason}")
        if name == "cpu" and loader.why_unavailable():
            raise ConversionError(f"backend 'cpu': {loader.why_unavailable()}, or use 'torch'")
        self._backend = name

    def readout_start(self, timesteps: int) -> int:
        """The decoded output at T is the mean of the output over timesteps start + 1 to T."""
        return int(self.readout_delay * timesteps + 1e-9)

    def check_calibrated(self) -> None:
        """Raise ConversionError unless every neuron has usable thresholds and potentials."""
        uncalibrated = [
            name
            for name, neuron in self.neurons.items()
            if not bool(((neuron.threshold > 0) & (neuron.threshold + neuron.v0).isfinite()).all())
        ]
        if uncalibrated:
            raise ConversionError(
                f"{len(uncalibrated)} neuron layer(s) have no positive, finite threshold (or no "
                f"finite v0), the first is '{uncalibrated[0]}'; run a calibration pass such as "
                "PercentileThreshold()"
            )

    def analog(self, x: Any, observe: Callable[[str, Tensor], None] | None = None) -> Any:
        """The source network's output: the same graph with every neuron as its activation.

        Args:
            x: [B, C, ...], or a batch with it; see ``convert.batches``.
            observe: called as ``observe(name, current)`` with each neuron's input, [B, ...].
        """

        def show(node: fx.Node, args: Any, value: Any) -> None:
            if observe is not None and node.meta["role"] == "neuron":
                observe(str(node.target), args[0])

        return self.as_source(self.evaluate(x, show))

    def evaluate(self, x: Any, visit: Callable[[fx.Node, Any, Any], None]) -> Any:
        """``analog``, with ``visit(node, args, value)`` after each node that calls something.

        Its result is in plain containers; see ``as_source``.
        """
        x = self.take_apart(x).x
        self.check_input(x)
        return self._evaluate(tensors_of(x), visit)

    def _evaluate(
        self, inputs: Sequence[Tensor], visit: Callable[[fx.Node, Any, Any], None]
    ) -> Any:
        values: dict[fx.Node, Any] = {}
        nodes, given = list(self.graph.nodes), iter(inputs)
        last_use = {source: node for node in nodes for source in node.all_input_nodes}
        for node in nodes:
            if node.op == "output":
                return returned(node, values.__getitem__)
            if node.op == "placeholder":
                values[node] = next(given)
                continue
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.meta["role"] == "neuron":
                values[node] = self.neuron(node.target).analog(args[0])
            else:
                values[node] = call_node(self, node, args, kwargs)
            self.check_guard(node, values[node])
            visit(node, args, values[node])
            for source in node.all_input_nodes:
                if last_use[source] is node:
                    del values[source]
        raise AssertionError("a graph without an output")

    def as_source(self, output: Any) -> Any:
        """An output in plain containers in those that the source network returns."""
        return typed(output, list(self.graph.nodes)[-1].meta.get("form"))

    def take_apart(self, batch: Any) -> Batch:
        """The network's input in a batch, in its type and on its device, and what came with it.

        Raises:
            ConversionError: no batch; see ``convert.batches``.
        """
        given = tuple(dict.fromkeys(one.name for one in self.inputs))
        signature = Signature(
            self.signature.arguments or given,
            given,
            options=self.signature.options,
            converted=True,
            integers=len(given) == 1 and not self.inputs[0].dtype.is_floating_point,
        )
        found = take_apart(batch, signature, self.first_weight())
        return Batch(self._in_their_types(found.x), found.target)

    def _in_their_types(self, x: Input) -> Input:
        """The integers and masks of an input in the types that the graph was traced with."""
        if isinstance(x, Tensor):
            types = [self.inputs[0].dtype]
            return x if x.is_floating_point() or types[0].is_floating_point else x.to(types[0])
        wanted = iter([one.dtype for one in self.inputs])

        def cast(value: Tensor) -> Tensor:
            dtype = next(wanted, value.dtype)
            same = value.is_floating_point() or dtype.is_floating_point
            return value if same else value.to(dtype)

        return x.map(cast)

    @property
    def inputs(self) -> list[TracedInput]:
        """The tensors that the network takes, in order, as they were at conversion."""
        return traced_inputs(self.graph)

    def example(self, rows: int = 3) -> Input:
        """Random inputs like those at conversion, the same in every call, on the network's device.

        Args:
            rows: B.
        """
        generator = torch.Generator().manual_seed(0)
        weight, inputs = self.first_weight(), self.inputs
        made = [one.random(rows, generator, weight) for one in inputs]
        if len(made) == 1 and self.signature.arguments[:1] in ((), (inputs[0].name,)):
            return made[0]
        named: dict[str, Any] = {}
        for one, value in zip(inputs, made, strict=True):
            named[one.name] = (*named.get(one.name, ()), value)
        values = {name: value[0] if len(value) == 1 else value for name, value in named.items()}
        return Inputs(values, options=self.signature.options)

    def blank(self, sizes: tuple[Any, ...]) -> list[Tensor]:
        """Zeros for the placeholders, [1, ...] each.

        Args:
            sizes: as the function of that name in ``convert.inputs`` gives them.
        """
        several = len(sizes) > 0 and isinstance(sizes[0], tuple)
        weight = next(self.parameters())
        return [
            torch.zeros(
                (1, *shape),
                dtype=weight.dtype if one.dtype.is_floating_point else one.dtype,
                device=weight.device,
            )
            for one, shape in zip(self.inputs, sizes if several else [sizes], strict=True)
        ]

    def first_weight(self) -> Tensor | None:
        """The program's first floating point parameter; a neuron's where there is no other."""
        for node in self.graph.nodes:
            value = None
            if node.op == "get_attr":
                value = attribute(self, str(node.target))
            elif node.op == "call_module" and node.meta["role"] != "neuron":
                value = next(self.get_submodule(str(node.target)).parameters(), None)
            if isinstance(value, Tensor) and value.is_floating_point():
                return value
        return next(self.parameters(), None)

    @property
    def float_type(self) -> torch.dtype:
        """The floating point type of the network's numbers."""
        weight = self.first_weight()
        return torch.float32 if weight is None else weight.dtype

    def check_input(self, x: Input) -> None:
        """Raise ConversionError unless an input has a shape and a type that this graph can take."""
        given, inputs = tensors_of(x), self.inputs
        if len(given) != len(inputs):
            raise ConversionError(
                f"a batch has {len(given)} tensors ({shapes(x)}); the network was converted with "
                f"{len(inputs)}: {', '.join(map(str, inputs))}"
            )
        other_sizes = [
            one for one, value in zip(inputs, given, strict=True) if require_like(one, value)
        ]
        if other_sizes:
            self._try(given, other_sizes[0])

    def _try(self, given: Sequence[Tensor], other: TracedInput) -> None:
        """Find out whether the graph takes inputs whose second dimension has another size."""
        sizes = tuple(tuple(value.shape[1:]) for value in given)
        if sizes in self._taken:
            return
        try:
            with torch.no_grad():
                self._evaluate([value[:1] for value in given], lambda node, args, value: None)
        except ConversionError:
            raise
        except Exception as cause:
            raise other.refusal(given[self.inputs.index(other)]) from cause
        self._taken.add(sizes)

    def check_guard(self, node: fx.Node, value: Any) -> None:
        """Raise ConversionError where the source network's code took a decision that x changes."""
        if "guard" in node.meta and not _same_decision(value, node.meta["guard"]):
            raise ConversionError(
                f"module '{node.meta['path'] or 'top'}' decides by the input's shape: "
                f"'{node.name}' was {node.meta['guard']!r} at conversion and is {value!r} now. "
                f"Convert the network again with inputs of this shape (it was converted for "
                f"{list(self.traced_shape)}). If it is the batch size, as in len(x) or "
                "int(x.shape[0]), write x.size(0) or -1: time is folded into the batch."
            )


def _same_decision(value: Any, recorded: Any) -> bool:
    if isinstance(recorded, bool):
        return bool(value) is recorded
    if isinstance(recorded, float):
        return math.isclose(value, recorded)
    return bool(value == recorded)
