"""Verbs that run a network: on every backend, chunk by chunk, image by image."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from agreement import emitted, require_close, require_same_spikes, tensors
from plain_loop import simulate
from subject import Subject, T, floats_of
from torch import Tensor
from torch.utils import _pytree as pytree

import spikeport as sp
from spikeport.convert import Neuron, SpikingNetwork
from spikeport.convert.inputs import Input, call
from spikeport.convert.simulation.early_exit import class_scores
from spikeport.cpu import loader

ROUNDING = 1e-3  # float32, relative to the largest value
LEVELS, LATE = 32, 256  # per timestep, and timesteps, where the error has to fall


@torch.no_grad()
def analog(case: Subject) -> None:
    """The analog reading is the source, at two batch sizes."""
    for x in (case.x, case.x[:1]):
        require_close(call(case.source, x.clone()), case.network.analog(x), 2e-3, "analog reading")


def _backend(case: Subject, name: str, chunks: tuple[int | None, ...]) -> None:
    other = copy.deepcopy(case.exact)
    other.backend = name
    x = case.coarse
    for chunk in chunks:
        found = emitted(other, x, T, chunk)
        what = f"backend '{name}', chunk {chunk}"
        require_same_spikes(case.exact, x, T, found, what, case.is_exact, case.spikes)
    # decoded in one call, in which backends take other ways
    few = ROUNDING if case.is_exact else 0.5
    decoded = [output.mean(0) for output in found[1]]
    require_close(decoded, tensors(other(x, T)), few, f"backend '{name}', decoded")


@torch.no_grad()
def float64(case: Subject) -> None:
    """A network converted in float32 runs in float64, if the source does."""
    try:
        call(copy.deepcopy(case.source).double(), floats_of(case.x, Tensor.double))
    except RuntimeError:  # code of its own that makes float32
        return
    copy.deepcopy(case.network).double()(floats_of(case.x, Tensor.double), 2)


@torch.no_grad()
def backend_torch(case: Subject) -> None:
    """Chunks of 1, 2 and all timesteps on torch emit the same spikes."""
    network, x = case.precise.network, case.precise.x
    whole = case.precise_spikes
    for chunk in (1, 3):
        parts = emitted(network, x, T, chunk)
        require_close(whole[0], parts[0], case.precise.rounding, f"spikes, chunk {chunk}")
        require_close(whole[1], parts[1], case.precise.rounding, f"outputs, chunk {chunk}")


@torch.no_grad()
def backend_auto(case: Subject) -> None:
    """ "auto" emits what torch emits; whatever it chooses has a verb of its own."""
    _backend(case, "auto", (2,))


@torch.no_grad()
def backend_cpu(case: Subject) -> None:
    """The engine emits what torch emits."""
    if loader.why_unavailable() is None:
        _backend(case, "cpu", (None, 2))


@torch.no_grad()
def backend_cuda(case: Subject) -> None:
    """The kernels, run on the CPU, emit what torch emits."""
    with kernels_on_the_cpu() as there:
        if there:
            _backend(case, "cuda", (None, 2))


@contextmanager
def kernels_on_the_cpu() -> Iterator[bool]:
    """The stand-in for CuPy of tests/cuda; False where there is no compiler for it."""
    from kernelhost.building import COMPILER
    from kernelhost.standin import stand_in

    from spikeport.cuda import launch

    if COMPILER is None:
        yield False
        return
    launch._function.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (2**26, 2**30))
        yield True
    launch._function.cache_clear()


@torch.no_grad()
def no_folding(case: Subject) -> None:
    """A loop over timesteps that does not fold them into the batch gives the same."""
    network, x, rounding = case.precise.network, case.precise.x, case.precise.rounding
    require_close(simulate(network, x, T), case.precise_spikes[1], rounding, "unfolded")


@torch.no_grad()
def convergence(case: Subject) -> None:
    """With thresholds that clip nothing the error falls as 1/T, give or take what is chaotic in it.

    Early timesteps say nothing: the last layers of a deep network start late. That the errors come
    from the neurons alone, however few levels they have, is the law of ``decoding``.
    """
    network, x = copy.deepcopy(case.precise.network), case.precise.x
    set_levels(network, x, LEVELS)
    outputs = dict(network.readouts(x, [LATE // 4, LATE]))
    exact = network.analog(x)
    before, after = (_error(exact, outputs[time]) for time in (LATE // 4, LATE))
    if not (after < 0.02 or after < 0.6 * before):
        raise AssertionError(f"the error is {before:.2g} at T={LATE // 4}, {after:.2g} at T={LATE}")


def set_levels(network: SpikingNetwork, x: Input, levels: int) -> None:
    """Neurons of so many spikes a timestep that reach the largest current of their layer.

    Quantised activations become what they are before they are rounded.
    """
    for neuron in network.neurons.values():
        neuron.step.data = neuron.step[:0]
    largest: dict[str, Tensor] = {}
    network.analog(x, lambda name, current: largest.update({name: current.abs().max()}))
    for name, neuron in network.neurons.items():
        neuron.model = Neuron(levels, levels)
        neuron.threshold.fill_(max(float(largest[name]), 1e-6) / levels)
        neuron.v0.copy_(neuron.threshold / 2)
        neuron.correction.data = neuron.correction[:0]


def _error(expected: Any, found: Any) -> float:
    pairs = list(zip(tensors(expected), tensors(found), strict=True))
    square = sum(float((a - b).square().sum()) for a, b in pairs)
    return (square / max(sum(float(a.square().sum()) for a, _ in pairs), 1e-12)) ** 0.5


@torch.no_grad()
def anytime(case: Subject) -> None:
    """``anytime`` is ``forward``, on every backend that "auto" chooses, too."""
    network, x = case.precise.network, case.precise.x
    answers = tensors(case.precise_answers)
    for time in (1, 2, T):
        found = tensors(network(x, time))
        rows = [answer[time - 1] for answer in answers]
        require_close(rows, found, case.precise.rounding, f"anytime and forward at {time}")
    case.network.anytime(case.x, 2, chunk=1)


@torch.no_grad()
def batch_of_one(case: Subject) -> None:
    """An image by itself has the answer that it has in a batch."""
    network, x = case.precise.network, case.precise.x
    together = [value[-1] for value in tensors(case.precise_answers)]
    for row in range(2):
        alone = tensors(network(x[row : row + 1], T))
        rows = [value[row : row + 1] for value in together]
        require_close(rows, alone, case.precise.rounding, f"image {row} by itself")
    case.network(case.x[:1], 2)


@torch.no_grad()
def another_size(case: Subject) -> None:
    """Inputs of another size, where the source network takes them."""
    if case.larger is None:
        return
    require_close(
        call(case.source, case.larger.clone()), case.network.analog(case.larger), 2e-3, "analog"
    )
    coarse = floats_of(case.larger, lambda value: (value * 32).round() / 32)
    found = emitted(case.exact, coarse, 3, 1)
    require_same_spikes(case.exact, coarse, 3, found, "another size, chunk 1")
    auto = copy.deepcopy(case.exact)
    auto.backend = "auto"
    auto(case.coarse, 3)
    found = emitted(auto, coarse, 3)
    require_same_spikes(case.exact, coarse, 3, found, "another size, backend 'auto'")


def class_scores_over_time(outputs: Any) -> Tensor:
    """The class scores in the outputs of all timesteps, [T, B, K]."""
    folded = pytree.tree_map_only(Tensor, lambda value: value.flatten(0, 1), outputs)
    return class_scores(folded).unflatten(0, (T, -1))


@torch.no_grad()
def early_exit(case: Subject) -> None:
    """Every image has the answer of ``forward`` at the T at which it stopped."""
    if not case.scores:
        return
    network, x, rule = case.precise.network, case.precise.x, sp.EarlyExit("gap", 0.05)
    scores, times = network.early_exit(x, T, rule)
    answers = class_scores_over_time(case.precise_answers)[times - 1, torch.arange(len(x))]
    require_close(answers, scores, case.precise.rounding, "answers at the exits")
    case.network.early_exit(case.x, 2, rule)
