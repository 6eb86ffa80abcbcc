"""The check of a source network, and the network inside of a wrapper."""

import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from spikeport.convert.errors import ConversionError

WRAPPERS = (
    nn.DataParallel,
    nn.parallel.DistributedDataParallel,
    torch.optim.swa_utils.AveragedModel,
)
INTEGER_LAYERS = ("torch.ao.nn.quantized.", "torch.ao.nn.intrinsic.quantized.")
_EXPORTED = (
    "was made by torch.export, which fixes sizes and has no layers left; pass the nn.Module that "
    "was exported"
)
_ONNX = (
    "is ONNX, which has no layers of PyTorch; pass the nn.Module that was exported to it, or one "
    "that a converter such as onnx2torch makes of it, in eval mode"
)
_WEIGHTS = (
    "is a file; build the network, load the weights into it (model.load_state_dict) and pass it in "
    "eval mode. A TorchScript file has no layers in Python: pass the nn.Module that it was made of"
)
_FILES = {".onnx": _ONNX, ".pt2": f"is a file that {_EXPORTED}"} | dict.fromkeys(
    (".pt", ".pth", ".th", ".bin", ".ckpt", ".safetensors", ".ts", ".jit", ".tar"), _WEIGHTS
)
_FILES[".snn"] = "is a spiking network already; open it with spikeport.load"


def is_file(model: Any) -> bool:
    """Whether a model is given by the path of a file instead of by its name."""
    is_path = isinstance(model, os.PathLike)
    return is_path or (isinstance(model, str) and PurePath(model).suffix.lower() in _FILES)


def check_source(network: Any) -> nn.Module:
    """The network itself, if it is made of Python modules in eval mode.

    Raises:
        ConversionError: it is not; the message is one line that says what to pass instead.
    """
    if not isinstance(network, nn.Module):
        raise ConversionError(_other_kind(network))
    for name, module in network.named_modules():
        where = f"module '{name or 'top'}' ({type(module).__name__})"
        if isinstance(module, torch.jit.ScriptModule):
            raise ConversionError(
                f"{where} is TorchScript, in which layers and their code are no longer Python; "
                "pass the nn.Module that it was scripted or traced from"
            )
        if _is_exported(module):
            raise ConversionError(f"{where} {_EXPORTED}")
        if _computes_in_integers(module):
            raise ConversionError(
                f"{where} computes with torch's integer kernels; pass the network as it was before "
                "torch.ao.quantization.convert (with its FakeQuantize modules its levels and "
                "integer weights are kept) or before quantize_dynamic"
            )
        _check_observers(where, module)
    for name, module in network.named_modules():
        if module.training and unwrapped(module) is module:
            raise ConversionError(
                f"module '{name or 'top'}' ({type(module).__name__}) is in training mode, where "
                "batch norm and dropout are random; call model.eval() first"
            )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise ConversionError(
                f"'{name}' has no shape yet; call the model on a batch once, so that its lazy "
                "layers are made"
            )
        if tensor.is_meta:
            raise ConversionError(
                f"'{name}' is on the meta device and has no data; load the weights first"
            )
    return network


def unwrapped(network: nn.Module) -> nn.Module:
    """The network in a wrapper that changes no number; itself if it is no wrapper."""
    while True:
        if _is_compiled(network):
            network = network._orig_mod  # type: ignore[assignment]
        elif isinstance(network, WRAPPERS):
            network = network.module
        else:
            return network


def _other_kind(given: Any) -> str:
    """The refusal of what is no module."""
    kind = type(given)
    if isinstance(given, (str, os.PathLike)):
        return f"{str(given)!r} {_FILES.get(PurePath(given).suffix.lower(), _WEIGHTS)}"
    if isinstance(given, type):
        return f"the model is the class {given.__name__}; expected an instance of it, in eval mode"
    if isinstance(given, torch.export.ExportedProgram):
        return f"the model (ExportedProgram) {_EXPORTED}"
    if kind.__module__.partition(".")[0] in ("onnx", "onnxruntime"):
        return f"the model ({kind.__name__}) {_ONNX}"
    expected = f"the model is a {kind.__name__}; expected a torch.nn.Module"
    if isinstance(given, Mapping):
        return (
            f"{expected}: weights alone do not say what is computed; load them into the network "
            "(model.load_state_dict) and pass it in eval mode"
        )
    if callable(given):
        return f"{expected}: let the function be the forward of one"
    return f"{expected}: pass the module that was exported, compiled or saved"


def _is_exported(module: nn.Module) -> bool:
    if type(module).__module__.startswith("torch.export"):
        return True
    return isinstance(module, fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload)
        for node in module.graph.nodes
        if node.op == "call_function"
    )


def _computes_in_integers(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__.startswith(INTEGER_LAYERS) and kind.__name__ != "FloatFunctional"


def _check_observers(where: str, module: nn.Module) -> None:
    """Refuse fake quantisation that changes with every batch, and observers without one."""
    observes = getattr(module, "static_enabled", getattr(module, "observer_enabled", None))
    if isinstance(observes, Tensor) and bool(observes.any()):
        raise ConversionError(
            f"{where} observes, and its levels change with every batch; call "
            "model.apply(torch.ao.quantization.disable_observer) first"
        )
    inside = getattr(module, "activation_post_process", None)
    if isinstance(inside, torch.ao.quantization.ObserverBase) and observes is None:
        raise ConversionError(
            f"{where} has an observer, which changes nothing but its own statistics; pass the "
            "network as it was before torch.ao.quantization.prepare, or one with FakeQuantize "
            "modules (prepare_qat), whose levels are kept"
        )


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") and type(module).__module__.startswith("torch._dynamo")
