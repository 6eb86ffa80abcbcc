"""A network as one file: a readable description and its weights, nothing that is executed.

The file is an uncompressed zip of ``network.json`` (graph, layers, how it was made) and
``weights.safetensors``. The same network always gives the same bytes.
"""

import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from spikeport import __version__
from spikeport.convert.errors import ConversionError
from spikeport.convert.files import replacing
from spikeport.convert.graph.nodes import place
from spikeport.convert.inputs import Signature
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.saving.graph import describe_graph, make_graph
from spikeport.convert.saving.layers import describe_layer, make_layer, own_tensors
from spikeport.convert.saving.tensors import (
    check_names,
    describe_tensors,
    make_tensors,
    some,
    write_tensors,
)
from spikeport.convert.simulation.input_encoding import describe_encoding, make_encoding

FORMAT, VERSION = "spikeport network", 1
DESCRIPTION, WEIGHTS = "network.json", "weights.safetensors"


def save(network: SpikingNetwork, path: str | os.PathLike[str]) -> None:
    """Write a network to one file, which ``load`` reads; the suffix is yours.

    Graph, layers, numbers and ``info`` are kept; hooks, ``backend`` and the training mode are not.
    A file that is already there is replaced only once the new one is complete.

    Args:
        network: calibrated or not, on any device.
        path: the file; its folder exists.

    Raises:
        ConversionError: a layer, a call or an ``info`` that has no form in a file (nothing is
            written then), or no such folder.
        OSError: the file cannot be written.
    """
    if not isinstance(network, SpikingNetwork):
        raise ConversionError(
            f"save takes a SpikingNetwork, not a '{type(network).__name__}'; make one with to_snn"
        )
    description, tensors = _describe(network)
    members = {DESCRIPTION: _layout(description), WEIGHTS: write_tensors(tensors)}
    _write(Path(path), members)


def warn_if_unsavable(network: SpikingNetwork) -> None:
    """Say which part keeps a network from being saved, before work is spent on it."""
    try:
        _describe(network)
    except ConversionError as cause:
        warnings.warn(f"the network can be run, but not be saved: {cause}", stacklevel=3)


@torch.inference_mode(False)
def load(path: str | os.PathLike[str]) -> SpikingNetwork:
    """Read a network that ``save`` wrote, to the CPU and in eval mode.

    No code from the file is run: what it may call is limited to the tables of this package.

    Raises:
        FileNotFoundError: there is no such file.
        ConversionError: the file is no saved network, is damaged, or is of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"'{path}': no such file")
    try:
        description, tensors = _read(path)
        return _make(description, tensors)
    except ConversionError as cause:
        raise ConversionError(f"'{path}' cannot be loaded: {cause}") from cause
    except Exception as cause:  # the file is untrusted, and may be wrong anywhere
        raise ConversionError(
            f"'{path}' cannot be loaded: it is damaged or was edited "
            f"({type(cause).__name__}: {cause}); save the network again, or get another copy"
        ) from cause


def _describe(network: SpikingNetwork) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of both members."""
    nodes = describe_graph(network.graph)
    called = {node["target"] for node in nodes if node["op"] == "call_module"}
    layers = {name: describe_layer(name, network.get_submodule(name)) for name in sorted(called)}
    tensors, values = describe_tensors(network)
    used = {node["target"] for node in nodes if node["op"] == "get_attr"}
    for name in layers:
        used |= {f"{name}.{key}" for key in own_tensors(network.get_submodule(name))}
    lost = set(tensors) - used
    if lost:
        raise ConversionError(
            "the network has tensors that its graph does not use and that would be lost: "
            f"{some(lost)}; delete them"
        )
    description = {
        "format": FORMAT,
        "format_version": VERSION,
        "spikeport_version": __version__,
        "info": network.info,
        "traced_shape": list(network.traced_shape),
        "arguments": list(network.signature.arguments),
        "options": dict(network.signature.options),
        "readout_delay": network.readout_delay,
        "encoding": describe_encoding(network.encoding),
        "layers": layers,
        "tensors": tensors,
        "nodes": nodes,
    }
    return description, values


def _layout(description: dict[str, Any]) -> bytes:
    """JSON with one line for each layer, tensor and node."""
    try:
        lines = [f" {json.dumps(key)}: {_lines(value)}" for key, value in description.items()]
    except (TypeError, ValueError, RecursionError) as cause:
        raise ConversionError(
            f"network.info cannot be saved ({cause}); keep it to dicts, lists, strings, bools and "
            "finite numbers"
        ) from cause
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _lines(value: Any) -> str:
    if isinstance(value, dict) and value:
        # through a dict, so that every key becomes a string as it does in the nested ones
        items = [json.dumps({key: item}, allow_nan=False)[1:-1] for key, item in value.items()]
        return "{\n  " + ",\n  ".join(items) + "\n }"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n  " + ",\n  ".join(json.dumps(v, allow_nan=False) for v in value) + "\n ]"
    return json.dumps(value, allow_nan=False)


def _write(path: Path, members: dict[str, bytes]) -> None:
    """The archive, dated 1980 so that the same network gives the same bytes."""
    if path.is_dir() or not path.parent.is_dir():
        raise ConversionError(
            f"cannot save to '{path}': "
            + ("it is a folder" if path.is_dir() else f"create the folder '{path.parent}' first")
        )
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Both members, once the file has said that it is ours and not too new."""
    if not zipfile.is_zipfile(path):
        raise ConversionError(
            "it is no network saved by spikeport.save (not a zip), or it was cut off"
        )
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if set(entries) != {DESCRIPTION, WEIGHTS} or len(archive.infolist()) != 2:
            raise ConversionError(
                f"it holds {some(entries)} instead of {DESCRIPTION} and {WEIGHTS}; it is no "
                "network saved by spikeport.save (a torch checkpoint goes to to_snn's checkpoint=)"
            )
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ConversionError("it is compressed, which spikeport.save never does; pack it anew")
        description = json.loads(archive.read(DESCRIPTION), parse_constant=_no_constant)
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise ConversionError(f"its {DESCRIPTION} does not say that it is a {FORMAT!r}")
        version = description["format_version"]
        if version != VERSION:
            raise ConversionError(
                f"it has format version {version!r}, written by spikeport "
                f"{description.get('spikeport_version')!r}; this is spikeport {__version__}, which "
                f"reads version {VERSION}: upgrade spikeport"
            )
        return description, safetensors.torch.load(archive.read(WEIGHTS))


def _make(description: dict[str, Any], saved: dict[str, Tensor]) -> SpikingNetwork:
    shape, info = description["traced_shape"], description["info"]
    if not all(type(size) is int for size in shape) or not isinstance(info, dict):
        raise ConversionError(f"traced_shape is {shape!r} and info a '{type(info).__name__}'")
    layers = {name: make_layer(name, record) for name, record in description["layers"].items()}
    records = description["tensors"]
    graph = make_graph(description["nodes"], layers, records)
    expected = {
        f"{name}.{key}": value
        for name, layer in layers.items()
        for key, value in own_tensors(layer).items()
    }
    constants = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    check_names(records, expected.keys() | constants, "the list of tensors")
    tensors = make_tensors(records, saved)
    for name, value in expected.items():
        if value.shape != tensors[name].shape:
            raise ConversionError(
                f"tensor {name!r} has shape {list(tensors[name].shape)}; its layer takes "
                f"{list(value.shape)}"
            )
    network = SpikingNetwork(graph, _root(layers, tensors), tuple(shape), info)
    network.signature = _signature(description)
    network.readout_delay = float(description["readout_delay"])
    if "encoding" in description:  # files from before there was a choice have none
        network.encoding = make_encoding(description["encoding"])
    return network


def _signature(description: dict[str, Any]) -> Signature:
    """The arguments of the source's forward; files from before they were noted have none."""
    arguments, options = description.get("arguments", []), description.get("options", {})
    if not all(isinstance(name, str) for name in (*arguments, *options)):
        raise ConversionError(f"the names of its arguments are {arguments!r} and {list(options)}")
    return Signature(tuple(arguments), options=options)


def _root(layers: dict[str, nn.Module], tensors: dict[str, Tensor]) -> nn.Module:
    """The modules by their paths, filled."""
    root = nn.Module()
    holders = {name.rpartition(".")[0] for name in tensors} - layers.keys() - {""}
    for name in sorted(layers.keys() | holders, key=lambda name: name.count(".")):
        place(root, name, layers.get(name) or nn.Module())
    modules = dict(root.named_modules())
    for path, value in tensors.items():
        holder, _, name = path.rpartition(".")
        if isinstance(value, nn.Parameter):
            modules[holder].register_parameter(name, value)
        else:
            modules[holder].register_buffer(name, value)
    return root


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
