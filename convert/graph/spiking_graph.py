"""The program of a spiking network, its analog reading and the checks of what it is given."""

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from spikeport.convert.batches import Batch, take_apart
from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import (
    attribute,
    call_node,
    exists,
    name_nodes,
    place,
    place_tensor,
    returned,
)
from spikeport.convert.graph.portable import from_records, to_records
from spikeport.convert.neurons import NeuronLayer
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
        traced_shape: shape of the batch it was traced with.
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
        self.readout_delay = 0.0
        self._backend = "auto"
        for node in graph.nodes:
            value = node.meta.pop("value", None)
            if isinstance(value, Tensor):
                node.meta["shape"] = list(value.shape)
            node.meta.pop("nn_module_stack", None)
        # without the nodes that were erased on the way, which hold tensors that cannot be pickled
        self.graph = copy.deepcopy(graph)
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

    def neuron(self, name: str) -> NeuronLayer:
        """The neuron layer of a name; raises ConversionError where there is none."""
        layer = self.get_submodule(name)
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

    def analog(self, x: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Any:
        """The source network's output: the same graph with every neuron as its activation.

        Args:
            x: [B, C, ...].
            observe: called as ``observe(name, current)`` with each neuron's input, [B, ...].
        """

        def show(node: fx.Node, args: Any, value: Any) -> None:
            if observe is not None and node.meta["role"] == "neuron":
                observe(str(node.target), args[0])

        return self.evaluate(x, show)

    def evaluate(self, x: Tensor, visit: Callable[[fx.Node, Any, Any], None]) -> Any:
        """``analog``, with ``visit(node, args, value)`` after each node that calls something."""
        x = self.take_apart(x).x
        self.check_input(x)
        values: dict[fx.Node, Any] = {}
        nodes = list(self.graph.nodes)
        last_use = {source: node for node in nodes for source in node.all_input_nodes}
        for node in nodes:
            if node.op == "output":
                return returned(node, values.__getitem__)
            if node.op == "placeholder":
                values[node] = x
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

    def take_apart(self, batch: Any) -> Batch:
        """The network's input in a batch, in its type and on its device, and what came with it.

        Raises:
            ConversionError: no batch; see ``convert.batches``.
        """
        arguments = [str(node.target) for node in self.graph.nodes if node.op == "placeholder"]
        return take_apart(batch, arguments, self._first_weight())

    def _first_weight(self) -> Tensor | None:
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

    def check_input(self, x: Tensor) -> None:
        """Raise ConversionError unless an input has a shape that this graph can take."""
        expected = self.traced_shape
        same_channels = x.ndim == len(expected) and x.shape[1] == expected[1]
        if not same_channels or 0 in x.shape:
            advice = ""
            if x.ndim == len(expected) + 1:
                advice = ", or set network.encoding = 'frames' for [B, T, ...]"
            elif x.ndim == len(expected) - 1 and x.shape[:1] == expected[1:2]:
                advice = "; a single one is x[None], and a data set goes into a DataLoader"
            raise ConversionError(
                f"the input has shape {list(x.shape)}; expected [B, "
                f"{', '.join(map(str, expected[1:]))}] as at conversion (a batch of any size)"
                + advice
            )

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
