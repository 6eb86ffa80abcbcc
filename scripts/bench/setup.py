"""The setup of `spikeport bench`: models, images, thresholds, and the machine."""

import argparse
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from spikeport.calibration import calibrate
from spikeport.convert import KINDS, SpikingNetwork, build
from spikeport.convert.integers.quantize import quantize
from spikeport.cpu.loader import paths, peak_adds, peak_short_adds, why_unavailable
from spikeport.scripts.bench.device import CPU, copy_bytes_per_second, gpu
from spikeport.zoo.checkpoints import RANDOM, load_model
from spikeport.zoo.images import image_folder, input_config, split
from spikeport.zoo.timm_layers import simplify

CALIBRATION_BATCHES = 4


@dataclass
class TimedNetwork:
    """A source network, its conversion, and the images that both are timed on, [B, 3, S, S].

    ``integers`` is the conversion in whole numbers, where that is wanted.
    """

    name: str
    source: nn.Module
    network: SpikingNetwork
    images: Tensor
    integers: SpikingNetwork | None = None


def timed_network(name: str, options: argparse.Namespace, device: torch.device) -> TimedNetwork:
    """Load a model, convert it, calibrate it on other images than it will be timed on.

    All of that is done on the CPU, whatever the device of the benchmark.
    """
    torch.manual_seed(0)
    model = load_model(name, options.checkpoint)
    if options.checkpoint == RANDOM:
        settle(model)
    batches, images = _images(model, options)
    network = build(model, images[:3], KINDS[options.neuron], simplify=simplify)
    calibrate(network, batches, options.recipe)
    bits = getattr(options, "bits", None)
    integers = quantize(network, bits).to(device) if bits else None
    return TimedNetwork(name, model.to(device), network.to(device), images.to(device), integers)


@torch.no_grad()
def settle(model: nn.Module) -> None:
    """Give batch norms statistics as after training; fresh ones make deep layers constant."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            if module.bias is not None:
                module.bias.normal_(0, 0.2)


def _images(model: nn.Module, options: argparse.Namespace) -> tuple[list[Tensor], Tensor]:
    """Batches to calibrate on, and the images of the benchmark."""
    batch, size = options.batch_size, options.size
    few = min(batch, 4)  # calibration keeps float64 copies of whole layers
    if options.data is None:
        drawn = torch.randn(CALIBRATION_BATCHES * few + batch, 3, size, size)
        return list(drawn[batch:].split(few)), drawn[:batch]
    config = {**input_config(model), "input_size": [3, size, size]}
    folder = image_folder(options.data, config)
    count = min(CALIBRATION_BATCHES * few, len(folder) - batch)  # type: ignore[arg-type]
    if count < 1:
        raise ValueError(f"--data {options.data}: {len(folder)} images, of which {batch} are timed")  # type: ignore[arg-type]
    calibration, timed = split(folder, count, batch)
    pixels = default_collate([calibration[i][0] for i in range(count)])
    return list(pixels.split(few)), default_collate([timed[i][0] for i in range(batch)])


def machine(device: torch.device = CPU) -> dict[str, Any]:
    """Facts that the numbers depend on: processor, GPU, threads, versions, measured ceilings."""
    native = not why_unavailable()
    return {
        "gpu": gpu(device),
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "spikeport": version_of("spikeport"),
        "path": paths()[0] if native else None,
        "peak_adds_per_thread": max(peak_adds() for _ in range(3)) if native else None,
        "peak_short_adds_per_thread": max(peak_short_adds() for _ in range(3)) if native else None,
        "copy_bytes_per_second": copy_bytes_per_second(device),
    }


def version_of(package: str) -> str | None:
    """The installed version; None where it is only on the path."""
    try:
        return version(package)
    except ImportError:  # PackageNotFoundError is one
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
