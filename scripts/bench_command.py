"""``spikeport bench``: the backends against each other and the source network, interleaved."""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert import KINDS, SpikingNetwork, build
from spikeport.cpu.loader import paths, peak_adds, why_unavailable
from spikeport.scripts.options import positive, timestep_list
from spikeport.zoo.checkpoints import load_model
from spikeport.zoo.timm_layers import simplify


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "bench",
        help="measure how fast the backends are",
        description="Time the source network and every backend on random images; thresholds at a "
        "quantile of the currents of those images.",
    )
    parser.add_argument("model", help="timm name")
    parser.add_argument("--checkpoint", metavar="F", help="weights; by default random ones")
    parser.add_argument("-T", "--timesteps", type=timestep_list, default=(32,))
    parser.add_argument("--neuron", choices=sorted(KINDS), default="if")
    parser.add_argument("--batch-size", type=positive, default=8)
    parser.add_argument("--size", type=positive, default=224, help="pixels (default: 224)")
    parser.add_argument("--quantile", type=float, default=0.999)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--json", metavar="F", help="write the numbers to this file")
    parser.set_defaults(run=run)


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """Convert, time, print."""
    torch.manual_seed(0)
    model = _model(options)
    images = torch.randn(options.batch_size, 3, options.size, options.size)
    network = build(model, images[:3], KINDS[options.neuron], simplify=simplify)
    _set_thresholds(network, images[:2], options.quantile)
    peak = None if why_unavailable() else max(peak_adds() for _ in range(3))
    report: dict[str, Any] = {
        **{key: getattr(options, key) for key in ("model", "neuron", "batch_size", "size")},
        "threads": torch.get_num_threads(),
        "peak_adds_per_thread": peak,
        "path": paths()[0] if peak else None,
        "density": _density(network, images),
        "rows": [],
    }
    for timesteps in options.timesteps:
        row = _row(network, model, images, timesteps, options.repeats)
        report["rows"].append(row)
        print(f"T={timesteps}: " + ", ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


def _row(
    network: SpikingNetwork, model: nn.Module, images: Tensor, timesteps: int, repeats: int
) -> dict[str, Any]:
    runs: dict[str, Callable[[], Any]] = {"source": lambda: model(images)}
    for backend in ("torch",) if why_unavailable() else ("torch", "cpu"):
        runs[backend] = _runner(network, images, timesteps, backend)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for name, call in runs.items():
        if name != "torch":
            call()  # warm up; torch's backend has nothing to prepare
    for _ in range(repeats):
        for name, call in runs.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    row: dict[str, Any] = {"timesteps": timesteps}
    row |= {f"{name}_seconds": statistics.median(times) for name, times in taken.items()}
    if "cpu" in taken:
        row["times_faster"] = row["torch_seconds"] / row["cpu_seconds"]
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def _runner(
    network: SpikingNetwork, images: Tensor, timesteps: int, backend: str
) -> Callable[[], Any]:
    def call() -> Any:
        network.backend = backend
        return network(images, timesteps)

    return call


def _model(options: argparse.Namespace) -> nn.Module:
    if options.checkpoint:
        return load_model(options.model, options.checkpoint)
    import timm

    model: nn.Module = timm.create_model(options.model).eval()
    for module in model.modules():  # as after training; fresh ones make deep layers constant
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            module.bias.normal_(0, 0.2)
    return model


def _set_thresholds(network: SpikingNetwork, images: Tensor, quantile: float) -> None:
    def show(name: str, current: Tensor) -> None:
        neuron = network.neurons[name]
        sample = current.abs().flatten()[:: max(1, current.numel() // 100_000)]
        top = max(min(float(sample.quantile(quantile)), neuron.high), 1e-3)
        neuron.threshold.fill_(top / neuron.max_up)
        neuron.v0.copy_(neuron.threshold / 2)

    network.analog(images, show)


def _density(network: SpikingNetwork, images: Tensor) -> float:
    found = [0.0, 0.0]

    def observe(_: str, emitted: Tensor, __: int) -> None:
        found[0] += float((emitted != 0).sum())
        found[1] += emitted.numel()

    network.backend = "torch"
    for _ in network.chunks(images[:1], 8, observe=observe):
        pass
    return found[0] / found[1]
