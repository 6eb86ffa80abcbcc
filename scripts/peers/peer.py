"""The interface of another tool that is compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Protocol

import torch
from torch import Tensor

from spikeport.convert import ConversionError
from spikeport.cpu.compiler import BuildError, compiler

CPU = torch.device("cpu")
PEERS = ("sinabs", "spikingjelly", "spikingjelly-compiled")


class Layer(Protocol):
    """A layer of the tool's integrate-and-fire neurons with threshold 1 and soft reset."""

    def start(self, v0: Tensor) -> None:
        """Forget everything; the potentials become ``v0``, [B, ...]."""

    def __call__(self, current: Tensor) -> Tensor:
        """Spikes (0 or 1) of a chunk in the tool's layout, [t, B, ...] or [B, t, ...]."""


@dataclass(frozen=True)
class Mode:
    """One way in which a tool can simulate.

    Attributes:
        name: what the tool calls it.
        layer: makes a layer of neurons.
        most_steps: timesteps that it can take at once, at most; None for any number.
    """

    name: str
    layer: Callable[[], Layer]
    most_steps: int | None = None


@dataclass(frozen=True)
class Peer:
    """Another tool.

    Attributes:
        name: of its package, or the package's with "-compiled" for what its users can make of it.
        version: installed.
        time_first: whether a chunk is [t, B, ...] to it, or [B, t, ...].
        modes: its ways on the device; the quickest is found by trial.
    """

    name: str
    version: str
    time_first: bool
    modes: tuple[Mode, ...]


def find(name: str, device: torch.device = CPU) -> Peer:
    """The tool of a name in PEERS, with its ways on a device.

    Raises:
        ConversionError: it is not installed.
    """
    package, _, compiled = name.partition("-")
    try:
        module = import_module(f"spikeport.scripts.peers.{name.replace('-', '_')}")
        if compiled:
            compiler()
        return Peer(name, version(package), module.TIME_FIRST, module.modes(device))
    except ImportError as error:  # PackageNotFoundError is one
        raise ConversionError(
            f"--against {name}: {package} is not installed ({error}); "
            "pip install 'spikeport[compare]' brings it"
        ) from error
    except BuildError as error:
        raise ConversionError(f"--against {name}: torch.compile needs one: {error}") from error
