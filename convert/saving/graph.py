"""A graph as a list of records, one for each node, and back."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.nodes import location
from spikeport.convert.graph.roles import IN_TIME
from spikeport.convert.neurons import NeuronLayer
from spikeport.convert.output_types import check_form
from spikeport.convert.saving.node_arguments import decode, decode_target, encode, encode_target

CALLED_ROLES = [*IN_TIME[1:], "shape", "static"]  # a signal is no call
FIXED_ROLES = {"placeholder": "input", "get_attr": "constant", "output": "output"}
META = {
    **{"role": str, "spikes": bool, "op": str, "path": str, "shape": list},
    **{"dtype": str, "largest": int, "form": dict},
    "numbers": str,
}


def describe_graph(graph: fx.Graph) -> list[dict[str, Any]]:
    """The nodes in order.

    Raises:
        ConversionError: a call or an argument that cannot be saved; names the node and its module.
    """
    return [_describe(node) for node in graph.nodes]


def _describe(node: fx.Node) -> dict[str, Any]:
    try:
        record = {
            "name": node.name,
            "op": node.op,
            "target": encode_target(node),
            "args": [encode(value) for value in node.args],
            "kwargs": {key: encode(value) for key, value in node.kwargs.items()},
        }
        meta = {key: node.meta[key] for key in META if key in node.meta}
        if "guard" in node.meta:
            meta["guard"] = encode(node.meta["guard"])
    except ConversionError as cause:
        raise ConversionError(
            f"node '{node.name}' in {location(node)}: {cause}. Write this part of the model with "
            "plain torch operations on tensors and numbers, and convert it again."
        ) from cause
    return record | {"meta": meta}


def make_graph(
    records: list[dict[str, Any]], layers: Mapping[str, nn.Module], tensors: Collection[str]
) -> fx.Graph:
    """The graph that ``describe_graph`` described.

    Args:
        records: from a file, so nothing about them is taken for granted.
        layers: the modules that the nodes may call, by path.
        tensors: paths of the tensors that they may read.

    Raises:
        ConversionError: a record that no saved network has.
    """
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for record in records:
        try:
            node = _make(graph, record, nodes)
            _check_meta(node)
            _check_role(node, layers, tensors)
        except ConversionError as cause:
            raise ConversionError(f"node {record['name']!r}: {cause}") from cause
        nodes[node.name] = node
    ops = [record["op"] for record in records]
    if "placeholder" not in ops or ops.count("output") != 1 or ops[-1] != "output":
        raise ConversionError("the graph does not have an input and, at its end, one output")
    graph.lint()
    return graph


def _make(graph: fx.Graph, record: dict[str, Any], nodes: dict[str, fx.Node]) -> fx.Node:
    args = tuple(decode(value, nodes) for value in record["args"])
    kwargs = {key: decode(value, nodes) for key, value in record["kwargs"].items()}
    target = decode_target(record["op"], record["target"], args)
    node = graph.create_node(record["op"], target, args, kwargs, record["name"])
    if node.name != record["name"]:
        raise ConversionError("its name is taken, or is no name")
    meta = dict(record["meta"])
    if "guard" in meta:
        meta["guard"] = decode(meta["guard"], {})
    node.meta = meta
    return node


def _check_meta(node: fx.Node) -> None:
    for key, value in node.meta.items():
        if key != "guard" and not isinstance(value, META.get(key, ())):
            raise ConversionError(f"the entry {key!r} of its meta is {value!r}")
    missing = {"role", "spikes", "path"} - node.meta.keys()
    if missing:
        raise ConversionError(f"its meta lacks {sorted(missing)}")
    if not all(type(size) is int for size in node.meta.get("shape", [])):
        raise ConversionError(f"its shape is {node.meta['shape']!r}")
    if node.op == "placeholder" and len(node.meta.get("shape", [])) == 0:
        raise ConversionError("it is an input without a shape")
    if not isinstance(getattr(torch, node.meta.get("dtype", "float32"), None), torch.dtype):
        raise ConversionError(f"its type is {node.meta['dtype']!r}")
    check_form(node.meta.get("form"))


def _check_role(node: fx.Node, layers: Mapping[str, nn.Module], tensors: Collection[str]) -> None:
    """Check what the simulation takes for granted about a node of this role."""
    role, target = node.meta["role"], str(node.target)
    allowed = [FIXED_ROLES[node.op]] if node.op in FIXED_ROLES else CALLED_ROLES
    if role not in allowed or ("op" not in node.meta and node.op not in FIXED_ROLES):
        raise ConversionError(f"its role is {role!r}; expected one of {allowed}")
    if node.op == "call_module" and target not in layers:
        raise ConversionError(f"it calls the module {target!r}, which the file does not have")
    if node.op == "get_attr" and target not in tensors:
        raise ConversionError(f"it reads the tensor {target!r}, which the file does not have")
    layer = layers[target] if node.op == "call_module" else None
    if (role == "neuron") != isinstance(layer, NeuronLayer) or (
        role == "weighted" and layer is None
    ):
        raise ConversionError(f"its role is {role!r}, which its target {target!r} has not")
    if role in ("neuron", "weighted") and not (node.args and isinstance(node.args[0], fx.Node)):
        raise ConversionError("it has no input")
