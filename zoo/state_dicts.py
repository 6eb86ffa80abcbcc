"""Reads weights from a file without executing it, and fills a model without leaving a gap."""

import argparse
import pickle
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin")

# Averaged weights first: where a file has both, the published accuracy is theirs.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net")

_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile

_SHOWN = 5  # keys named per kind of mismatch


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads the weights in a file; never runs code that the file holds.

    Args:
        path: a .safetensors file, or a .pt, .pth, .th or .bin file written by `torch.save`.

    Returns:
        Key to tensor on the CPU, without training wrappers and without the prefixes of
        `DistributedDataParallel` and `torch.compile`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown suffix, an unreadable file, a file that would have to be unpickled,
            or one that holds something else than named tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r}: no such file.")
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"checkpoint {str(path)!r}: unknown suffix {path.suffix!r}, expected one of "
            f"{', '.join(SUFFIXES)}. Rename the file to what it holds."
        )
    if path.suffix == ".safetensors":
        try:
            return _without_prefixes(load_file(path))
        except safetensors.SafetensorError as error:
            raise ValueError(f"checkpoint {str(path)!r} is not safetensors: {error}") from error
    return _unwrap(_torch_load(path), path)


def mismatches(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """Compares two state dicts by key and shape.

    `num_batches_tracked` may be missing or left over: only training uses it, and files written
    before PyTorch 0.4.1 do not have it.

    Returns:
        None where they fit; otherwise counts and the first few keys of every kind of mismatch.
    """
    missing = [key for key in expected if key not in state and _matters(key)]
    unexpected = [key for key in state if key not in expected and _matters(key)]
    shapes = [
        f"{key} {_size(state[key])} in the file, {_size(tensor)} in the model"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("mis-shaped", shapes))
    parts = [f"{len(keys)} {kind}: {_first(keys)}" for kind, keys in kinds if keys]
    return "; ".join(parts) or None


def fill(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copies weights into a model in place; the keys and shapes must be the model's own.

    Args:
        model: the model to fill.
        state: key to tensor.
        origin: what to call the weights in an error.

    Raises:
        ValueError: a missing, unexpected or mis-shaped key; the model is left untouched.
    """
    expected = model.state_dict()
    problem = mismatches(state, expected)
    if problem is not None:
        raise ValueError(
            f"{origin} does not fit {type(model).__name__} ({problem}). Check that the name is the "
            "architecture that was trained, and pass the arguments it was built with, for "
            "example num_classes=10."
        )
    model.load_state_dict({key: state[key] for key in expected if key in state}, strict=False)


def _torch_load(path: Path) -> Any:
    try:
        # timm's training script stores its arguments beside the weights. A Namespace runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        wanted = sorted(set(re.findall(r"GLOBAL ([\w.]+)", str(error))))
        if not wanted and "TorchScript" not in str(error):
            raise ValueError(
                f"checkpoint {str(path)!r} cannot be read: it is damaged, or torch.save did not "
                f"write it. Reading it stopped with: {str(error)[:200]}"
            ) from error
        raise ValueError(
            f"checkpoint {str(path)!r} is refused: it holds {', '.join(wanted) or 'TorchScript'}, "
            "and reading that can run any code the file brings along. If you trust whoever made "
            "it, take the weights out once, `model = torch.load(path, weights_only=False)`, write "
            "them with `safetensors.torch.save_model(model, 'model.safetensors')`, and pass that."
        ) from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    inside = list[Any]()  # a damaged file can hold itself
    while isinstance(content, Mapping) and not any(content is outer for outer in inside):
        inside.append(content)
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        content = content if wrapper is None else content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"checkpoint {str(path)!r} holds {_describe(content)}, expected named tensors. "
            "Save `model.state_dict()` instead."
        )
    odd = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise ValueError(
            f"checkpoint {str(path)!r}: {len(odd)} of {len(content)} entries are not tensors: "
            f"{_first(odd)}. Weights are looked for at the top level and under "
            f"{', '.join(_WRAPPERS)}. Save `model.state_dict()` instead."
        )
    return _without_prefixes(content)


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that the bare module has, in whichever order it was wrapped."""
    found = {}
    for key, tensor in state.items():
        while key.startswith(_PREFIXES):
            key = key.partition(".")[2]
        found[key] = tensor
    return found


def _matters(key: str) -> bool:
    return not key.endswith("num_batches_tracked")


def _describe(content: Any) -> str:
    kind = type(content).__name__
    return f"an empty {kind}" if isinstance(content, Collection) and not content else f"a {kind}"


def _size(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _first(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
