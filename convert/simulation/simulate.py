"""The time loop: one graph, read as a spiking network.

Time is folded into the batch, [T·B, ...] with T outermost, so that stateless layers see one big
batch; only neurons and difference ops unfold it. Long runs go in chunks of timesteps that carry
the state, so memory depends on the chunk and not on T. What depends on the input alone is
computed once.

A difference op (after Li & Zeng 2022 for max pooling, and Huang et al. 2024, "Towards
High-performance Spiking Transformers from ANN to SNN Conversion", for any function) evaluates F
on the running mean m of its inputs and emits ``y_t = t·F(m_t) − (t−1)·F(m_{t−1})``: the mean of y
over T timesteps is exactly F(m_T).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.inputs import Input
from spikeport.convert.simulation.emitted import Observer, Watcher, values_to
from spikeport.convert.simulation.encoded_network import as_presented
from spikeport.convert.simulation.gpu.run import start_on_gpu
from spikeport.convert.simulation.native.start import start_on_engine
from spikeport.convert.simulation.readout import Readout
from spikeport.convert.simulation.run import Run


def simulate(
    network: SpikingGraph,
    x: Input,
    timesteps: int,
    chunk: int | None = None,
    observe: Observer | None = None,
) -> Iterator[Any]:
    """Run the network on an input, presented as ``network.encoding`` says.

    Args:
        network: calibrated.
        x: [B, C, ...]; with event frames [T, B, C, ...].
        timesteps: T >= 1.
        chunk: timesteps simulated at once; as many as memory suits by default, see
            ``chunk_size``.
        observe: called as ``observe(name, emitted, first)`` with what each neuron and each
            max-pool of spikes emitted in a chunk or a part of it, [t, B, ...], and the number of
            timesteps before that.

    Yields:
        For each chunk the outputs at its timesteps, [t, B, ...], in the source network's
        structure. Their mean over all timesteps is the decoded output.
    """
    run = start_run(network, x, None if observe is None else values_to(observe))
    run.wanted = timesteps
    chunk = chunk or run.default_chunk()
    while run.time < timesteps:
        yield run.advance(min(chunk, timesteps - run.time))


def decode(
    network: SpikingGraph,
    x: Input,
    wanted: Sequence[int],
    chunk: int | None = None,
    watch: Watcher | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run the network on an input and decode its output at some timesteps.

    What is linear between the last spikes and the output is evaluated at those only.

    Args:
        network: calibrated.
        x: as for ``simulate``.
        wanted: numbers of timesteps T, ascending.
        chunk: as for ``simulate``.
        watch: called as ``watch(name, emitted)`` with what each neuron and each max-pool of
            spikes emitted in a chunk; see ``Emitted``.

    Yields:
        (T, the mean of the output over timesteps 1..T).
    """
    run = start_run(network, x, watch)
    run.readout, run.wanted = Readout(run.network.graph), wanted[-1]
    chunk = chunk or run.default_chunk()
    while run.time < wanted[-1]:
        steps = min(chunk, wanted[-1] - run.time)
        marks = [time - run.time for time in wanted if 0 < time - run.time <= steps]
        times = [run.time + mark for mark in marks]
        yield from zip(times, run.advance(steps, marks), strict=True)


def start_run(network: SpikingGraph, x: Input, watch: Watcher | None) -> Run:
    """Begin to present a batch, on the backend that suits; arguments as for ``decode``."""
    signal, first = network.encoding.present(x), network.encoding.batch(x)
    network = as_presented(network)
    run = start_on_gpu(network, first, watch) or start_on_engine(network, first, watch)
    run = run or Run(network, first, watch)
    run.signal = signal
    return run
