"""Verbs that try out what a converted network's graph states of itself.

Every node states what it is in time (``meta["role"]``), whether its value consists of spikes, and
what it is called. The operations are called on numbers; their rows in the table are not asked.
"""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from called_node import CalledNode, called_nodes, floats
from recorded import Recorded
from running_verbs import set_levels
from subject import Subject
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert.graph.operations.spikes import MIXED, UNKNOWN
from spikeport.convert.graph.operations.table import row_of
from spikeport.convert.neurons import NeuronLayer

FEW_LEVELS, STEPS = 2, 6
ROUNDING = 1e-4  # of the largest value; some layers compute in float32 whatever they are given


def names(case: Subject) -> None:
    """Every node has a name of its own; that of a neuron is its module's."""
    named = [(node.meta["name"], node) for node in case.network.graph.nodes]
    twice = [name for name, times in Counter(name for name, _ in named).items() if times > 1]
    if twice:
        raise AssertionError(f"several nodes are called {twice}")
    neurons = {str(n.target): name for name, n in named if n.meta["role"] == "neuron"}
    if any(target != name for target, name in neurons.items()):
        raise AssertionError(f"neurons have other names than their modules: {neurons}")


@torch.no_grad()
def roles(case: Subject) -> None:
    """What is called linear is, what is called spikes is, and layers with weights read spikes."""
    network, x = case.precise.network, case.precise.x
    for called in called_nodes(network, x):
        node = called.node
        if node.meta["role"] != "difference":
            _require_linear(called)
        if node.meta["spikes"]:
            _require_spikes(called)
        elif node.meta["role"] == "weighted" and node.op == "call_module":
            analog = [s.meta["name"] for s in called.sources if not _has_spikes_or_input(s)]
            if analog:
                raise AssertionError(f"layer '{node.meta['name']}' reads analog values: {analog}")
        _require_no_spikes_are_missed(called)


def _has_spikes_or_input(node: fx.Node) -> bool:
    """Whether a value is spikes, or the network's constant input moved, alone or beside others."""
    beside = _rule(node).moves and any(map(_has_spikes_or_input, _of_input(node)))
    return bool(node.meta["spikes"]) or node.meta["role"] in ("input", "static") or beside


def _of_input(node: fx.Node) -> list[fx.Node]:
    """The nodes that a node reads, without spikes."""
    return [source for source in node.all_input_nodes if not source.meta["spikes"]]


def _require_linear(called: CalledNode) -> None:
    """Raise AssertionError unless the value at a mean is the mean of the values."""
    one, other = called.random(1), called.random(2)
    between = _with_floats(lambda a, b: (a + b) / 2, one, other)
    mean = [(a + b) / 2 for a, b in zip(called(one), called(other), strict=True)]
    _require_equal(
        called(between),
        mean,
        f"'{called.node.meta['name']}' is called linear, and at "
        "the mean of two values it is not the mean of its own",
    )


def _require_spikes(called: CalledNode) -> None:
    """Raise AssertionError unless spikes alone come out, and none where none comes in.

    Constants may stand beside spikes that are moved.
    """
    node, random = called.node, called.random(3)
    out = called(random)
    moves, selects = _rule(node).moves, _rule(node).selects
    if (moves or selects) and not _are_among(out, [*floats(random), *called.beside]):
        raise AssertionError(f"'{node.meta['name']}' is called moved spikes, and changes them")
    if moves:
        return
    silent = called(_with_floats(torch.zeros_like, called.given))
    if any(bool(value.any()) for value in silent):
        raise AssertionError(f"'{node.meta['name']}' is called spikes, and is not 0 without any")
    twice = called(_with_floats(lambda a: 2 * a, random))
    _require_equal(
        twice,
        [2 * v for v in out],
        f"'{node.meta['name']}' is called spikes, and of "
        "spikes twice as large it does not make spikes twice as large",
    )


def _require_no_spikes_are_missed(called: CalledNode) -> None:
    """Raise AssertionError where spikes are called analog values and charged as such.

    Where constants stand beside them, they may be.
    """
    node, rule = called.node, _rule(called.node)
    alone = all(s.meta["spikes"] for s in called.sources) and not called.beside
    known = node.meta["role"] == "linear" and rule is not MIXED and rule is not UNKNOWN
    if node.meta["spikes"] or not (alone and known) or _of_one_pixel(called):
        return
    silent = any(bool(v.any()) for v in called(_with_floats(torch.zeros_like, called.given)))
    random = called.random(3)
    changed = rule.moves and not _are_among(called(random), floats(random))
    if not silent and not changed:
        raise AssertionError(
            f"'{node.meta['name']}' is not called spikes, and nothing else is in it"
        )


def _of_one_pixel(called: CalledNode) -> bool:
    """Whether it reads a map of one pixel, of which every resizing makes copies."""
    return any(v.ndim > 2 and v[0, 0].numel() == 1 for v in floats(called.given))


def _rule(node: fx.Node) -> Any:
    row = row_of(node)
    return UNKNOWN if row is None else row.spikes


def _are_among(values: list[Tensor], known: list[Tensor]) -> bool:
    """Whether every number is 0 or one of the known ones."""
    numbers = torch.cat([v.flatten().double() for v in [*known, torch.zeros(1)]])
    return all(bool(torch.isin(v.double(), numbers).all()) for v in values)


def _with_floats(function: Callable[..., Tensor], *structures: Any) -> Any:
    """The first structure with a function of the floats at each place of all."""
    return pytree.tree_map(
        lambda *v: function(*v) if isinstance(v[0], Tensor) and v[0].is_floating_point() else v[0],
        *structures,
    )


def _require_equal(found: list[Tensor], expected: list[Tensor], what: str) -> None:
    for a, b in zip(found, expected, strict=True):
        scale = float(b[b.isfinite()].abs().max()) if bool(b.isfinite().any()) else 0.0
        same = (a == b) | ((a - b).abs() <= ROUNDING * max(scale, 1e-3)) | (a.isnan() & b.isnan())
        if not bool(same.all()):
            raise AssertionError(f"{what}, by {float((a - b).abs().nan_to_num().max()):.2g}")


@torch.no_grad()
def decoding(case: Subject) -> None:
    """Every node decodes to its function of what it reads decodes to, after few timesteps.

    The mean over time of what a node emits is its operation on the means of what it reads: exactly,
    but for neurons, which keep back less than a threshold where they do not fire as much as they
    can. Errors of the output are then those of its neurons, however deep the network is, and fall
    as 1/T. Two levels make the currents uneven.
    """
    network, x = copy.deepcopy(case.precise.network), case.precise.x
    set_levels(network, x, FEW_LEVELS)
    run, steps = Recorded(network, network.take_apart(x).x), []
    for _ in range(STEPS):  # one by one: not every value has the batch, and with it time, first
        run.advance(1)
        steps.append(dict(run.found))
    # places of maxima, and other whole numbers, are those of the last timestep
    values = run.static | _with_floats(lambda *v: sum(v) / STEPS, *reversed(steps))
    for node in run.found:
        if node.meta["role"] == "neuron":
            neuron = network.neuron(str(node.target))
            _require_decoded(neuron, node, values, steps[-1][node])
        else:
            called = CalledNode(network, node, values)
            _require_equal(
                floats(values[node]),
                called(called.given),
                f"'{node.meta['name']}' does not decode to its operation on what it reads",
            )


def _require_decoded(
    neuron: NeuronLayer, node: fx.Node, means: dict[fx.Node, Any], last: Tensor
) -> None:
    """Raise AssertionError unless a neuron layer has emitted what it was given, to a threshold.

    Args:
        neuron, node: the layer, and its place in the graph.
        means: of all nodes over the timesteps.
        last: what the layer emitted in the last one, [B, ...].
    """
    current = means[node.all_input_nodes[0]]
    theta = neuron.per_channel(neuron.threshold, current)
    total, last = STEPS * means[node] / theta, last / theta
    left = (neuron.per_channel(neuron.v0, current) + STEPS * current) / theta - total
    low, high = STEPS * neuron.low / theta, STEPS * neuron.high / theta
    full = (last > neuron.max_up - 0.5) | (total + 1 > high * (1 - 1e-5))
    empty = (last < 0.5 - neuron.max_down) | (total - 1 < low * (1 - 1e-5))
    fine = ((left > -1e-4) | empty) & ((left < 1 + 1e-4) | full)
    if not bool(fine.all()):
        raise AssertionError(
            f"neurons of '{node.meta['name']}' keep back {float(left[~fine].abs().max()):.2g} "
            "thresholds, and could have fired"
        )
