"""A converted network and what the verbs want to know of it."""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from agreement import dyadic, emitted, every_value, tensors
from torch import Tensor, nn

import spikeport as sp
from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input, Inputs, call, shapes
from spikeport.convert.simulation.early_exit import is_scores

T = 5  # timesteps of most verbs


@dataclass
class Precise:
    """A network in the widest type that it takes, its input, and how much rounding may change."""

    network: SpikingNetwork
    x: Input
    dtype: torch.dtype
    rounding: float


@dataclass
class Subject:
    """A converted network and what is known about it.

    Attributes:
        network: converted and calibrated; verbs that change it take a copy.
        source: what it was converted from, in eval mode.
        x: [B, C, ...], B >= 2, or several inputs.
    """

    network: SpikingNetwork
    source: nn.Module
    x: Input

    @cached_property
    def exact(self) -> SpikingNetwork:
        """With numbers of few digits, on torch."""
        found = dyadic(self.network)
        found.backend = "torch"
        return found

    @cached_property
    def coarse(self) -> Input:
        """``x`` with few digits."""
        return floats_of(self.x, lambda value: (value * 32).round() / 32)

    @cached_property
    def is_exact(self) -> bool:
        """Whether ``exact`` computes the same bits in float64, so that it has not rounded."""
        if self.precise.dtype != torch.float64:
            return False
        double = copy.deepcopy(self.exact).double()
        ours, wide = (
            every_value(self.exact, self.coarse, T),
            every_value(double, floats_of(self.coarse, Tensor.double), T),
        )
        return all(torch.equal(a.double(), b) for a, b in zip(ours, wide, strict=True))

    @cached_property
    def spikes(self) -> Any:
        """What ``exact`` emits for ``coarse``, see ``emitted``."""
        return emitted(self.exact, self.coarse, T, T)

    @cached_property
    def precise(self) -> "Precise":
        """In float64 on torch, where rounding moves no spike; in float32 where it must be."""
        double = copy.deepcopy(self.network).double()
        double.backend = "torch"
        try:
            call(copy.deepcopy(self.source).double(), floats_of(self.x, Tensor.double))
            double(floats_of(self.x, Tensor.double), 1)
        except RuntimeError:  # code of its own that makes float32
            float32 = copy.deepcopy(self.network)
            float32.backend = "torch"
            return Precise(float32, self.x, torch.float32, 0.5)
        return Precise(double, floats_of(self.x, Tensor.double), torch.float64, 1e-7)

    @cached_property
    def precise_spikes(self) -> Any:
        """What the network of ``precise`` emits for its input, see ``emitted``."""
        return emitted(self.precise.network, self.precise.x, T, T)

    @cached_property
    def precise_answers(self) -> Any:
        """Its answers after every timestep, [T, B, ...]."""
        return self.precise.network.anytime(self.precise.x, T)

    @cached_property
    def answers(self) -> tuple[Any, Any]:
        """The network's answers after three timesteps, and its analog reading."""
        return self.network(self.x, 3), self.network.analog(self.x)

    @cached_property
    def file(self) -> bytes:
        """The network as it is saved."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.snn"
            sp.save(self.network, path)
            return path.read_bytes()

    @cached_property
    def loaded(self) -> SpikingNetwork:
        """What is in ``file``."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.snn"
            path.write_bytes(self.file)
            return sp.load(path)

    @cached_property
    def labels(self) -> Tensor:
        """[B]."""
        return torch.arange(len(self.x)) % 2

    @cached_property
    def scores(self) -> bool:
        """Whether the output is class scores."""
        return is_scores(self.network.analog(self.x))

    @cached_property
    def larger(self) -> Input | None:
        """An input of another size that the source takes, if there is one."""
        if isinstance(self.x, Inputs) or not self.x.is_floating_point():
            return self._longer(self.x)
        for more in (2, 1, -1):
            shape = [*self.x.shape[:2], *(max(1, size + more) for size in self.x.shape[2:])]
            if self.x.ndim < 3 or shape == list(self.x.shape):
                return None
            x = torch.randn(shape, generator=torch.Generator().manual_seed(7))
            try:
                if all(bool(v.isfinite().all()) for v in tensors(self.source(x.clone()))):
                    return x
            except Exception:  # whatever a network says to a size
                continue
        return None

    def _longer(self, x: Input) -> Input | None:
        """Longer sequences of token ids, if there are any."""

        def longer(value: Tensor) -> Tensor:
            return value if value.is_floating_point() else torch.cat([value, value[:, :2]], 1)

        found = longer(x) if isinstance(x, Tensor) else x.map(longer)
        try:
            call(self.source, found)
        except Exception:  # as above
            return None
        return None if shapes(found) == shapes(x) else found


def floats_of(x: Input, function: Callable[[Tensor], Tensor]) -> Input:
    """An input with a function of its floats in their place."""
    if isinstance(x, Tensor):
        return function(x) if x.is_floating_point() else x
    return x.map(lambda value: function(value) if value.is_floating_point() else value)
