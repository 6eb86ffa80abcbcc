"""Measure what fine-tuning keeps in memory, over T.

    python -m spikeport.scripts.experiments.finetune_memory

prints a Markdown table: the largest number of bytes in tensors at once during one step, beyond
what is there before it, for a small convolutional network on the CPU.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikeport.calibration import InitialPotential, MaxThreshold, calibrate
from spikeport.convert import KINDS, SpikingNetwork, build
from spikeport.finetune.gradient.through_time import learn_online, present
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import make_trainable

TIMESTEPS = (1, 4, 16, 64)


class PeakBytes(TorchDispatchMode):
    """Follows the storages of all tensors that are made while it is active.

    Attributes:
        peak: most bytes at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = {leaf.untyped_storage() for leaf in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for leaf in _tensors(result):
            storage = leaf.untyped_storage()
            if storage not in self.known and storage not in given:
                self.known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._forget, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _forget(self, size: int) -> None:
        self.now -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def small_network() -> tuple[SpikingNetwork, Tensor]:
    """Two convolutions and a classifier, random weights; and images for it, [8, 3, 16, 16]."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 10)).eval()
    images = torch.randn(8, 3, 16, 16)
    network = build(model, images, KINDS["if"])
    calibrate(network, [images], [MaxThreshold(), InitialPotential()], progress=False)
    return make_trainable(network, Surrogate()), images


def steps(timesteps: int) -> dict[str, Callable[[], Any]]:
    """One forward and backward over T timesteps, in every way."""
    network, images = small_network()

    def bptt(chunk: int | None) -> None:
        present(network, images, timesteps, chunk=chunk).answer.square().sum().backward()

    def online(method: str) -> None:
        nothing: frozenset[str] = frozenset()
        learn_online(network, images, timesteps, nothing, lambda r: r.answer.square().sum(), method)

    root = max(1, round(timesteps**0.5))
    return {
        "BPTT": lambda: bptt(None),
        "BPTT, chunks of √T": lambda: bptt(root),
        "SLTT": lambda: online("sltt"),
        "OTTT": lambda: online("ottt"),
    }


def measure(timesteps: int) -> dict[str, int]:
    """Bytes at the peak of one step, by method."""
    found = {}
    for name, step in steps(timesteps).items():
        with PeakBytes() as tracker:
            step()
        found[name] = tracker.peak
    return found


def main() -> None:
    """Print the table."""
    columns = {T: measure(T) for T in TIMESTEPS}
    print("| MiB at the peak | " + " | ".join(f"T={T}" for T in TIMESTEPS) + " |")
    print("|---|" + "---|" * len(TIMESTEPS))
    for name in columns[TIMESTEPS[0]]:
        cells = (f"{columns[T][name] / 2**20:.1f}" for T in TIMESTEPS)
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
