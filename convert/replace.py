"""Put a neuron in the place of every activation, and before every layer that needs spikes."""

import math

from torch import Tensor, fx, nn

from spikeport.convert.graph.nodes import depending_on_input, eliminate_dead, place, unique
from spikeport.convert.graph.operations.operation import Span
from spikeport.convert.graph.operations.table import call_of, row_of
from spikeport.convert.graph.roles import assign_role, in_time
from spikeport.convert.neurons import NeuronLayer, NeuronModel


def replace_activations(graph: fx.Graph, root: nn.Module, neuron: NeuronModel) -> None:
    """Every ``clamp(x, low, high)`` with low <= 0 <= high, however written, becomes a neuron.

    Neurons are named after the source model's modules (``layer1.0.act2``); the second call of one
    module is ``layer1.0.relu#1``, a functional call in a module's forward ``layer1.0.relu``.

    A rectifier with a slope is homogeneous: it stays, and turns the spikes of a signed neuron
    before it (``layer1.0.act2#in``) into spikes of other sizes, whose sum is exact.
    """
    found = []
    dependent = depending_on_input(graph)
    for node in list(graph.nodes):
        if node not in dependent:
            continue
        if _is_sloped(node):
            _insert_before(graph, root, node, neuron)
        span = _activation_range(node, root)
        if span is not None:
            found.append((node, span))
    called: set[str] = set()
    for node, (low, high) in found:
        if node.op == "call_module":
            name = unique(root, node.target) if node.target in called else node.target
            called.add(node.target)
        else:
            name = unique(root, functional_name(node))
        new = insert_neuron(
            graph,
            root,
            node.args[0] if node.args else node.kwargs["input"],
            node,
            name,
            neuron,
            low,
            high,
        )
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    eliminate_dead(graph)


def _insert_before(graph: fx.Graph, root: nn.Module, node: fx.Node, neuron: NeuronModel) -> None:
    """A signed neuron on what a node reads."""
    source = node.args[0] if node.args else node.kwargs["input"]
    module = str(node.target) if node.op == "call_module" else ""
    name = unique(root, f"{module}#in" if module else functional_name(node))
    new = insert_neuron(graph, root, source, source, name, neuron, -math.inf, math.inf)
    node.replace_input_with(source, new)


def make_inputs_spike(graph: fx.Graph, root: nn.Module, neuron: NeuronModel) -> None:
    """Signed neurons where a weighted layer would read an analog value.

    That is a linear bottleneck, or what comes out of a difference op. The layers that read the
    network's input itself stay: their current is constant and computed once.
    """
    for node in list(graph.nodes):
        assign_role(node, root)
        if node.op != "call_module" or not _is_weighted(node):
            continue
        producers = _analog_producers(node.args[0], root)
        for producer in producers:
            if producer.op == "call_module":
                name = unique(root, f"{producer.target}#out")
            else:
                name = unique(root, functional_name(producer))
            new = insert_neuron(graph, root, producer, producer, name, neuron, -math.inf, math.inf)
            producer.replace_all_uses_with(
                new, delete_user_cb=lambda user, at=new: user is not at and user.op != "output"
            )
        if producers:
            _assign_again(producers, node, root)


def _assign_again(producers: list[fx.Node], last: fx.Node, root: nn.Module) -> None:
    """The roles of the nodes from the first producer to the last node, behind new neurons."""
    nodes, missing = [last], set(producers)
    while missing:
        nodes.append(nodes[-1].prev)
        missing.discard(nodes[-1])
    for node in reversed(nodes):
        assign_role(node, root)


def insert_neuron(
    graph: fx.Graph,
    root: nn.Module,
    source: fx.Node,
    after: fx.Node,
    name: str,
    neuron: NeuronModel,
    low: float,
    high: float,
) -> fx.Node:
    """A neuron called ``name`` reading ``source``, placed after the node ``after``."""
    value = after.meta["value"]
    dim = -1 if value.ndim > 2 and _channel_axis(source, root) == value.ndim - 1 else 1
    layer = NeuronLayer(neuron, value.shape[dim] if value.ndim > 1 else 1, low, high, dim)
    place(root, name, layer.to(value.device, value.dtype))
    with graph.inserting_after(after):
        new = graph.call_module(name, (source,))
    new.meta = {"value": value, "path": after.meta["path"], "op": "neuron"}
    return new


def functional_name(node: fx.Node) -> str:
    """The name of an operation in a module's code, ``layer1.0.relu``."""
    return f"{node.meta['path']}.{node.meta['op']}".lstrip(".")


def _analog_producers(node: fx.Node, root: nn.Module) -> list[fx.Node]:
    analog = in_time(node) and not node.meta["spikes"]
    behind_weights = node.meta["role"] == "static" and _reads_weighted(node)
    value = node.meta["value"]
    mask = isinstance(value, Tensor) and not value.is_floating_point()
    if mask or not (analog or behind_weights):
        return []
    first = node.all_input_nodes[0]
    several = not isinstance(first.meta["value"], Tensor)
    one_of_several = several and not _reshapes(first, root)  # that a layer returned
    if _reshapes(node, root) and not one_of_several:
        return [
            producer
            for source in node.all_input_nodes
            for producer in _analog_producers(source, root)
        ]
    return [node]


def _activation_range(node: fx.Node, root: nn.Module) -> Span | None:
    """(low, high) if the node is a clamp whose range contains 0, otherwise None."""
    known = call_of(node, root)
    if known is None or known[0].activation is None:
        return None
    row, call = known
    return row.activation(call) if row.activation is not None else None


def _reads_weighted(node: fx.Node) -> bool:
    """Whether a weighted layer is among a node and all that it is computed from."""
    todo, seen = [node], {node}
    while todo:
        current = todo.pop()
        if _is_weighted(current):
            return True
        fresh = [source for source in current.all_input_nodes if source not in seen]
        seen.update(fresh)
        todo += fresh
    return False


def _is_weighted(node: fx.Node) -> bool:
    row = row_of(node)
    return row is not None and row.in_time == "weighted"


def _is_sloped(node: fx.Node) -> bool:
    """Whether it is a rectifier with a slope, which is homogeneous and selects nothing."""
    row = row_of(node)
    return row is not None and row.spikes.homogeneous and not row.spikes.selects


def _reshapes(node: fx.Node, root: nn.Module) -> bool:
    """Whether spikes before it are spikes after it, at other places."""
    known = call_of(node, root)
    return known is not None and known[0].spikes.moves and known[0].spikes.carries(known[1])


def _channel_axis(node: fx.Node, root: nn.Module) -> int:
    """The axis of the channels of a value [B, ...]: the layer they come from tells."""
    shape, row = _shape(node), row_of(node)
    sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
    sources = [source for source in sources if len(_shape(source)) > 0]
    if len(shape) <= 2 or not sources:
        return 1
    axis, before = _channel_axis(sources[0], root), _shape(sources[0])
    if row is None:
        return len(shape) - 1 if 1 < axis == len(before) - 1 else axis
    return row.channels(row.call(node, root), axis, before, shape)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Sizes of a node's value, or of its first if it has several; () if it is no tensor."""
    value = node.meta["value"]
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return tuple(value.shape) if isinstance(value, Tensor) else ()
