"""The converted network: a plain module with two readings of one graph."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.changing_input import as_presented
from spikeport.convert.early_exit import EarlyExit, run_until_sure
from spikeport.convert.emitted import Observer, Watcher
from spikeport.convert.errors import ConversionError
from spikeport.convert.graph import attribute, call_node, exists, place, place_tensor, returned
from spikeport.convert.input_encoding import Constant, Encoding, input_encoding
from spikeport.convert.neurons import SpikingNeuron
from spikeport.convert.roles import in_time
from spikeport.convert.simulate import (
    decode,
    map_tensors,
    mean_between,
    require_timesteps,
    simulate,
)
from spikeport.cpu import loader
from spikeport.cuda.available import why_unavailable

BACKENDS = ("auto", "torch", "cpu", "cuda")


class SpikingNetwork(nn.Module):
    """A traced network with neurons in the places of its activations.

    Made by ``to_snn`` or ``load``. Submodules and parameters keep the source network's names; the
    membrane potentials are no part of it and do not outlive a call.

    Attributes:
        graph: the program, a ``torch.fx.Graph`` over the submodules (roles: see ``roles.py``).
        traced_shape: shape of the batch it was traced with.
        info: how it was made (source, neuron, recipe, calibration), JSON-able; travels with save.
        readout_delay: share of the timesteps that the readout leaves out, in [0, 1): the first
            ones, in which the spikes have not come through all layers. 0: none; see
            ``DelayedReadout``.
    """

    def __init__(
        self, graph: fx.Graph, root: nn.Module, traced_shape: tuple[int, ...], info: dict[str, Any]
    ) -> None:
        super().__init__()
        self.graph = graph
        self.traced_shape = tuple(traced_shape)
        self.info = info
        self.readout_delay = 0.0
        self._backend = "auto"
        self._encoding: Encoding = Constant()
        for node in graph.nodes:
            value = node.meta.pop("value", None)
            if isinstance(value, Tensor):
                node.meta["shape"] = list(value.shape)
            node.meta.pop("nn_module_stack", None)
        self._adopt(root)
        self.eval()

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
        taken = {*vars(type(self)), *vars(nn.Module), *vars(self)}
        if name in taken and name not in self._modules:
            raise ConversionError(
                f"the model's attribute '{name}' has the name of an attribute of SpikingNetwork; "
                "rename it, or convert the model inside an nn.Sequential(model)"
            )

    @property
    def neurons(self) -> dict[str, SpikingNeuron]:
        """The neuron layers by name, in the order in which they fire."""
        found = {}
        for node in self.graph.nodes:
            if node.meta["role"] == "neuron":
                found[str(node.target)] = self.neuron(str(node.target))
        return found

    def neuron(self, name: str) -> SpikingNeuron:
        """The neuron layer of a name; raises ConversionError where there is none."""
        layer = self.get_submodule(name)
        if not isinstance(layer, SpikingNeuron):
            raise ConversionError(f"'{name}' is a {type(layer).__name__}, not a neuron layer")
        return layer

    @property
    def backend(self) -> str:
        """``"torch"``, ``"cpu"``, ``"cuda"`` or ``"auto"``: what simulates the timesteps.

        ``"cpu"``, the native engine, is for inference in float32 without hooks; ``"cuda"``, CuPy
        kernels around torch's convolutions, is for networks on a GPU. ``"auto"`` takes them for
        every inference that they suit, and torch for the other calls.
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

    @property
    def encoding(self) -> Encoding:
        """How an input is presented over the timesteps; saved with the network.

        Set it to ``"constant"`` (the default: a constant current), ``"poisson"``, ``"ttfs"`` (time
        to first spike), ``"frames"`` (event frames: inputs are [T, B, C, ...]) or an object with
        options such as ``Poisson(seed=1)``. Calibration and the analog reading do not know it.
        """
        return self._encoding

    @encoding.setter
    def encoding(self, encoding: str | Encoding) -> None:
        self._encoding = input_encoding(encoding)

    def forward(self, x: Tensor, timesteps: int, chunk: int | None = None) -> Any:
        """The decoded output after ``timesteps`` timesteps: the mean of the output over them.

        With a ``readout_delay`` the mean is over the last of them only.

        Args:
            x: images or features, [B, C, ...], presented as ``encoding`` says.
            timesteps: T >= 1.
            chunk: timesteps simulated at once; chosen from the tensor sizes by default.

        Returns:
            What the source network returns: a tensor [B, ...] or a structure of them.

        Raises:
            ConversionError: timesteps < 1, an input of another shape, an uncalibrated neuron.
        """
        require_timesteps(timesteps)
        [(_, output)] = self.readouts(x, [timesteps], chunk)
        return output

    def anytime(self, x: Tensor, timesteps: int, chunk: int | None = None) -> Any:
        """The decoded output after each timestep, [T, B, ...], from one run; see ``forward``.

        An encoding with a period longer than a timestep gives answers at its multiples only; the
        others are on the way there.
        """
        require_timesteps(timesteps)
        self._check_run(x, timesteps, chunk)
        outputs = [y for _, y in self._windows(x, range(1, timesteps + 1), chunk, None)]
        return map_tensors(lambda *times: torch.stack(times), *outputs)

    def chunks(
        self, x: Tensor, timesteps: int, chunk: int | None = None, observe: Observer | None = None
    ) -> Any:
        """The outputs at every timestep, chunk by chunk; see ``simulate``."""
        require_timesteps(timesteps)
        self._check_run(x, timesteps, chunk)
        return simulate(self, x, timesteps, chunk, observe)

    def readouts(
        self,
        x: Tensor,
        wanted: Sequence[int],
        chunk: int | None = None,
        watch: Watcher | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Pairs of T and the decoded output after it, for each wanted T, from one run.

        It costs less than ``anytime``: the last, linear layers are evaluated at those T only.

        Args:
            x: as for ``forward``.
            wanted: numbers of timesteps, ascending.
            chunk: timesteps simulated at once.
            watch: called with what each layer emitted; see ``simulate.decode``.
        """
        if not wanted or list(wanted) != sorted(set(map(require_timesteps, wanted))):
            raise ConversionError(f"the timesteps {list(wanted)} are not one or more, ascending")
        self.encoding.check_readout(wanted)
        self._check_run(x, wanted[-1], chunk)
        return self._windows(x, wanted, chunk, watch)

    def _windows(
        self, x: Tensor, wanted: Sequence[int], chunk: int | None, watch: Watcher | None
    ) -> Iterator[tuple[int, Any]]:
        starts = {self.readout_start(T) for T in wanted} - {0}
        until: dict[int, Any] = {}  # mean of the output over timesteps 1..T
        for T, mean in decode(self, x, sorted(starts.union(wanted)), chunk, watch):
            if T in starts:
                until[T] = mean
            start = self.readout_start(T)
            if T in wanted and start == 0:
                yield T, mean
            elif T in wanted:
                yield T, map_tensors(partial(mean_between, start, T), until[start], mean)

    def readout_start(self, timesteps: int) -> int:
        """The decoded output at T is the mean of the output over timesteps start + 1 to T."""
        return int(self.readout_delay * timesteps + 1e-9)

    def early_exit(
        self, x: Tensor, timesteps: int, exit: EarlyExit, watch: Watcher | None = None
    ) -> tuple[Tensor, Tensor]:
        """The decoded output of each image after as many timesteps as it takes to be sure.

        An image that has stopped leaves the batch and costs nothing more. Its answer is the one
        that ``forward`` gives for as many timesteps. Without gradients.

        Args:
            x: as for ``forward``.
            timesteps: T, the most; an image that is never sure stops there.
            exit: when an image stops; ``sp.calibrate_exit`` finds its threshold.
            watch: as for ``readouts``.

        Returns:
            The class scores, [B, K], and the timesteps that each image took, int64 [B].

        Raises:
            ConversionError: as ``forward``, or a network that is no classifier.
        """
        require_timesteps(timesteps)
        self.encoding.check_readout(exit.times(timesteps))
        self._check_run(x, timesteps, None)
        return run_until_sure(self, x, timesteps, exit, watch)

    def _check_run(self, x: Tensor, timesteps: int, chunk: int | None) -> None:
        if chunk is not None:
            require_timesteps(chunk)
        self.encoding.check(self, x, timesteps)
        self.check_calibrated()

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

    def check_input(self, x: Tensor) -> None:
        """Raise ConversionError unless ``x`` is a batch this graph can take."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise ConversionError(
                f"the input is {kind}; expected a float tensor "
                f"[B, {', '.join(map(str, self.traced_shape[1:]))}]"
            )
        expected = self.traced_shape
        same_channels = x.ndim == len(expected) and x.shape[1] == expected[1]
        if not same_channels or 0 in x.shape:
            frames = x.ndim == len(expected) + 1
            raise ConversionError(
                f"the input has shape {list(x.shape)}; expected [B, "
                f"{', '.join(map(str, expected[1:]))}] as at conversion (a batch of any size)"
                + (", or set network.encoding = 'frames' for [T, B, ...]" if frames else "")
            )
        if not bool(torch.isfinite(x).all()):
            raise ConversionError("the input holds NaN or infinite values; check the images")

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

    def analog_layers(self) -> list[str]:
        """Weighted layers whose input changes in time but is not spikes: a MAC per timestep."""
        return [
            str(node.target)
            for node in as_presented(self).graph.nodes
            if node.meta["role"] == "weighted"
            and in_time(node.args[0])
            and not node.args[0].meta["spikes"]
        ]


def _same_decision(value: Any, recorded: Any) -> bool:
    if isinstance(recorded, bool):
        return bool(value) is recorded
    if isinstance(recorded, float):
        return math.isclose(value, recorded)
    return bool(value == recorded)
