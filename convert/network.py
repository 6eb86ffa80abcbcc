"""The converted network: a plain module with two readings of one graph."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.roles import in_time
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input
from spikeport.convert.simulation.early_exit import EarlyExit, run_until_sure
from spikeport.convert.simulation.emitted import Observer, Watcher
from spikeport.convert.simulation.encoded_network import as_presented
from spikeport.convert.simulation.input_encoding import Constant, Encoding, input_encoding
from spikeport.convert.simulation.run import map_tensors, mean_between
from spikeport.convert.simulation.simulate import decode, simulate
from spikeport.convert.simulation.timesteps import require_timesteps


class SpikingNetwork(SpikingGraph):
    """A spiking network: a graph that is simulated in time, and the same graph read without time.

    Made by ``to_snn`` or ``load``. Submodules and parameters keep the source network's names; the
    membrane potentials are no part of it and do not outlive a call.

    Attributes:
        graph, traced_shape, info, readout_delay: see ``SpikingGraph``.
    """

    def __init__(
        self, graph: fx.Graph, root: nn.Module, traced_shape: tuple[int, ...], info: dict[str, Any]
    ) -> None:
        super().__init__(graph, root, traced_shape, info)
        self._encoding: Encoding = Constant()

    @property
    def encoding(self) -> Encoding:
        """The presentation of an input over the timesteps; saved with the network.

        Set it to ``"constant"`` (the default: a constant current), ``"poisson"``, ``"ttfs"`` (time
        to first spike), ``"frames"`` (event frames: inputs are [B, T, C, ...]) or an object with
        options such as ``Poisson(seed=1)``. Calibration and the analog reading do not know it.
        """
        return self._encoding

    @encoding.setter
    def encoding(self, encoding: str | Encoding) -> None:
        self._encoding = input_encoding(encoding)

    def forward(self, x: Any, timesteps: int, chunk: int | None = None) -> Any:
        """The decoded output after ``timesteps`` timesteps: the mean of the output over them.

        With a ``readout_delay`` the mean is over the last of them only.

        Args:
            x: images or features, [B, C, ...], presented as ``encoding`` says; or a batch that
                holds them, such as a dict of the forward's arguments, see ``convert.batches``.
            timesteps: T >= 1.
            chunk: timesteps simulated at once; chosen from the tensor sizes by default.

        Returns:
            What the source network returns: a tensor [B, ...] or a structure of them, of the same
            class.

        Raises:
            ConversionError: timesteps < 1, an input of another shape, an uncalibrated neuron.
        """
        timesteps = require_timesteps(timesteps)
        [(_, output)] = self.readouts(x, [timesteps], chunk)
        return output

    def anytime(self, x: Any, timesteps: int, chunk: int | None = None) -> Any:
        """The decoded output after each timestep, [T, B, ...], from one run; see ``forward``.

        An encoding with a period longer than a timestep gives answers at its multiples only; the
        others are on the way there.
        """
        timesteps = require_timesteps(timesteps)
        x = self._checked(x, timesteps, chunk)
        outputs = [y for _, y in self._windows(x, range(1, timesteps + 1), chunk, None)]
        return self.as_source(map_tensors(lambda *times: torch.stack(times), *outputs))

    def chunks(
        self, x: Any, timesteps: int, chunk: int | None = None, observe: Observer | None = None
    ) -> Any:
        """The outputs at every timestep, chunk by chunk; see ``simulate``."""
        timesteps = require_timesteps(timesteps)
        parts = simulate(self, self._checked(x, timesteps, chunk), timesteps, chunk, observe)
        return map(self.as_source, parts)

    def readouts(
        self,
        x: Any,
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
        wanted = list(map(require_timesteps, wanted))
        if not wanted or wanted != sorted(set(wanted)):
            raise ConversionError(f"the timesteps {wanted} are not one or more, ascending")
        self.encoding.check_readout(wanted)
        found = self._windows(self._checked(x, wanted[-1], chunk), wanted, chunk, watch)
        return ((T, self.as_source(output)) for T, output in found)

    def _windows(
        self, x: Input, wanted: Sequence[int], chunk: int | None, watch: Watcher | None
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

    def early_exit(
        self, x: Any, timesteps: int, exit: EarlyExit, watch: Watcher | None = None
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
        timesteps = require_timesteps(timesteps)
        self.encoding.check_readout(exit.times(timesteps))
        images = self._checked(x, timesteps, None).detach()
        return run_until_sure(self, images, timesteps, exit, watch)

    def _checked(self, batch: Any, timesteps: int, chunk: int | None) -> Input:
        """The input of a batch, once it is sure that the network can be run on it."""
        if chunk is not None:
            require_timesteps(chunk)
        x = self.take_apart(batch).x
        self.encoding.check(self, x, timesteps)
        self.check_calibrated()
        if torch.is_grad_enabled():
            self._say_which_gradients_end()
        return x

    def _say_which_gradients_end(self) -> None:
        """Warn of parameters that a training loop would not train: a spike has no derivative."""
        if not any(value.requires_grad for value in self.parameters()):
            return
        before: set[fx.Node] = set()  # what spikes are made of
        for node in reversed(self.graph.nodes):
            neuron = node.meta["role"] == "neuron"
            if node in before or (neuron and not self.neuron(str(node.target)).passes_gradients):
                before.update(node.all_input_nodes)
            if node not in before or neuron or node.op != "call_module":
                continue
            layer = self.get_submodule(str(node.target))
            if any(value.requires_grad for value in layer.parameters()):
                warnings.warn(
                    f"layer '{node.target}' and others before spikes get no gradient from this "
                    "call and would not be trained; train with sp.trainable(snn, timesteps) or "
                    "sp.finetune, or call it under torch.no_grad()",
                    stacklevel=1,
                )
                return

    def analog_layers(self) -> list[str]:
        """Weighted layers whose input changes in time but is not spikes: a MAC per timestep."""
        return [
            str(node.target)
            for node in as_presented(self).graph.nodes
            if node.meta["role"] == "weighted"
            and in_time(node.args[0])
            and not node.args[0].meta["spikes"]
        ]
