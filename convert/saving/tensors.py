"""Parameters and buffers as safetensors, with what safetensors does not know.

That is which of them are parameters, which are one and the same, in which order their dimensions
lie in memory (a product with a transposed matrix rounds differently), and the type of those that
are whole numbers, which are written as integers of 8, 16 or 32 bits.
"""

from collections.abc import Collection
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from spikeport.convert.errors import ConversionError

KINDS = ("parameter", "frozen parameter", "buffer")
SHOWN = 5  # names listed in a message
FEW = 16  # numbers that are written as floats, also where they are whole


def describe_tensors(module: nn.Module) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """A record for each parameter and buffer, and the tensors to write.

    Returns:
        Records by name, and the values without repetition, each alone in its storage.

    Raises:
        ConversionError: a tensor without values.
    """
    parameters = module.named_parameters(remove_duplicate=False)
    tensors = sorted([*parameters, *module.named_buffers(remove_duplicate=False)])
    records: dict[str, dict[str, Any]] = {}
    values: dict[str, Tensor] = {}
    names: dict[int, str] = {}
    for name, tensor in tensors:
        if tensor.is_meta:
            raise ConversionError(f"tensor '{name}' is on the meta device and has no values")
        records[name] = {"kind": _kind(tensor)}
        if id(tensor) in names:
            records[name]["tied_to"] = names[id(tensor)]
            continue
        names[id(tensor)] = name
        value, order = tensor.detach().cpu(), _order(tensor)
        small = _smallest(value)
        if small is not None:
            records[name]["whole"], value = str(value.dtype).removeprefix("torch."), small
        if not tensor.is_contiguous() and value.permute(order).is_contiguous():
            records[name]["order"] = order
            value = value.permute(order)
        values[name] = value.clone() if value.is_contiguous() else value.contiguous()
    return records, values


def write_tensors(values: dict[str, Tensor]) -> bytes:
    """The values as a safetensors file; raises ConversionError for a type unknown to it."""
    try:
        return safetensors.torch.save(values)
    except (KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as cause:
        raise ConversionError(f"the weights have no form in safetensors: {cause}") from cause


def make_tensors(
    records: dict[str, dict[str, Any]], values: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The parameters and buffers that ``describe_tensors`` described.

    Raises:
        ConversionError: records and values do not belong together.
    """
    check_names(
        values, [name for name, record in records.items() if "tied_to" not in record], "the weights"
    )
    made = {name: _made(records[name], value) for name, value in values.items()}
    return {name: made[record.get("tied_to", name)] for name, record in records.items()}


def check_names(found: Collection[str], expected: Collection[str], where: str) -> None:
    """Raise ConversionError unless both hold the same names."""
    lacking, surplus = set(expected) - set(found), set(found) - set(expected)
    if lacking:
        raise ConversionError(f"{where}: {some(lacking)} missing")
    if surplus:
        raise ConversionError(f"{where}: {some(surplus)} not expected")


def some(names: Collection[str]) -> str:
    """The first few names, for a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, sorted(names)[:SHOWN])) + more


def _kind(tensor: Tensor) -> str:
    if not isinstance(tensor, nn.Parameter):
        return "buffer"
    return "parameter" if tensor.requires_grad else "frozen parameter"


def _order(tensor: Tensor) -> list[int]:
    """The dimensions from the outermost in memory; those of size 1, which lie nowhere, last."""
    sizes, strides = tensor.shape, tensor.stride()
    return sorted(range(tensor.ndim), key=lambda dim: (sizes[dim] == 1, -strides[dim]))


def _smallest(value: Tensor) -> Tensor | None:
    """Whole numbers in floats as the smallest integers that hold them; None for others."""
    if value.dtype not in (torch.float32, torch.float64) or value.numel() < FEW:
        return None
    if not bool((value == value.round()).all()) or bool((value.signbit() & (value == 0)).any()):
        return None
    for dtype in (torch.int8, torch.int16, torch.int32):
        limits = torch.iinfo(dtype)
        if bool(((value >= limits.min) & (value <= limits.max)).all()):
            return value.to(dtype)
    return None


def _made(record: dict[str, Any], value: Tensor) -> Tensor:
    kind = record["kind"]
    if "whole" in record:
        if record["whole"] not in ("float32", "float64"):
            raise ConversionError(f"whole numbers of the type {record['whole']!r}")
        value = value.to(getattr(torch, record["whole"]))
    if kind not in KINDS:
        raise ConversionError(f"a tensor of the kind {kind!r}; expected one of {KINDS}")
    if "order" in record:
        order = record["order"]
        value = value.permute([order.index(dim) for dim in range(value.ndim)])
    return value if kind == "buffer" else nn.Parameter(value, requires_grad=kind == "parameter")
