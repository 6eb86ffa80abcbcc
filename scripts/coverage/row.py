"""A line about a small network: how near its conversion comes, and how much of it spikes."""

import time
from typing import Any

import torch
from torch import nn

import spikeport as sp
from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import Input, call, sizes
from spikeport.convert.outputs import flat, tensors
from spikeport.report.operations.synapses import count_synapses

TIMESTEPS = (4, 16, 64)
LEVELS = sp.Neuron(8, 8)
HEADS = [
    *("neuron layers", "difference"),
    *(f"error at T={T}" for T in TIMESTEPS),
    *("spike-driven", "conversion"),
]
MEANING = f"""- **difference**: the largest difference of the analog reading from the source's
  outputs, relative to their largest magnitude, on a batch of another size (and another length of
  sequence where words are read) than the network was converted with.
- **error**: of the decoded outputs after T timesteps, relative to their size (root mean square);
  neurons of up to {LEVELS.max_up} spikes up and down per timestep, recipe `"max"`.
- **spike-driven**: share of the multiply-accumulates that become accumulates; layers that read the
  input alone are computed once and not counted. Products of two values that both change in time,
  as in attention, stay analog."""


@torch.no_grad()
def measured(model: nn.Module, batch: Any, other: Any) -> list[str]:
    """The cells under HEADS.

    Args:
        model: in eval mode.
        batch: to convert with and to run.
        other: of another size.
    """
    begin = time.perf_counter()
    network = sp.to_snn(model, [batch], neuron=LEVELS, recipe="max", progress=False)
    seconds = time.perf_counter() - begin
    x = network.take_apart(batch).x
    expected = flat(call(model, x))
    errors = [
        float((flat(output) - expected).norm() / expected.norm())
        for _, output in network.readouts(x, TIMESTEPS)
    ]
    counted = count_synapses(network, sizes(x))
    return [
        str(len(network.neurons)),
        f"{difference(model, network, other):.0e}",
        *(f"{error:.2g}" for error in errors),
        f"{counted.spike_driven:.1%}" if counted.spike_driven is not None else "",
        f"{seconds:.1f} s",
    ]


@torch.no_grad()
def difference(model: nn.Module, network: SpikingNetwork, batch: Any) -> float:
    """The largest difference of any output, relative to its largest magnitude."""
    x: Input = network.take_apart(batch).x
    expected, found = tensors(call(model, x)), tensors(network.analog(x))
    pairs = zip(expected, found, strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
