"""A copied network that reports its calls and parameters to a recorder while it is traced.

Everything is set on the copy's own instances: torch's classes, and with them every other network in
every other thread, are left alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikeport.convert.graph.operations.table import layer_arguments
from spikeport.convert.graph.recurrent import Recurrent
from spikeport.convert.graph.same_padding import SamePadded
from spikeport.convert.tracing.recorder import GraphRecorder
from spikeport.convert.tracing.register_op import LEAVES
from spikeport.convert.tracing.traced_tensor import wrapped_by_functorch

TENSORS = ("_parameters", "_buffers")
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
OF_TORCH = ("torch.nn.", "torch.ao.nn.")


def is_leaf(module: nn.Module) -> bool:
    """Whether a module stays whole: a layer of torch's; everything else is traced through."""
    if isinstance(module, (SamePadded, Recurrent)) or type(module) in LEAVES:
        return True
    if layer_arguments(type(module)) is not None:
        return True
    holds_others = isinstance(module, CONTAINERS) or any(True for _ in module.children())
    return type(module).__module__.startswith(OF_TORCH) and not holds_others


class Instrumented:
    """The modules of ``root`` while it is traced.

    Attributes:
        failed: the exception that came out of a module's code, and the path of that module.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.failed: tuple[BaseException, str] | None = None
        self._real: dict[nn.Module, dict[str, Any]] = {}
        self._traced: dict[nn.Module, dict[str, Any]] = {}

    @contextmanager
    def of(self, recorder: GraphRecorder) -> Iterator[None]:
        """Report to a recorder; afterwards the modules are as they were."""
        paths = list(self.root.named_modules())
        for path, module in paths:
            own = vars(module)
            self._real[module] = {key: own[key] for key in (*TENSORS, "forward") if key in own}
            self._traced[module] = {
                kind: {
                    name: self._attribute(recorder, f"{path}.{name}".lstrip("."), tensor)
                    for name, tensor in own[kind].items()
                }
                for kind in TENSORS
            }
            self._traced[module]["forward"] = self._reporting(recorder, path, module)
        try:
            for module, tensors in self._traced.items():
                vars(module).update(tensors)
            yield
        finally:
            for module, real in self._real.items():
                vars(module).pop("forward", None)
                vars(module).update(real)

    def _attribute(self, recorder: GraphRecorder, path: str, tensor: Any) -> Any:
        usual = isinstance(tensor, Tensor) and tensor.layout is torch.strided
        if not usual or tensor.is_quantized or is_lazy(tensor):
            return tensor
        return recorder.attribute(path, tensor)

    def run(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """A leaf's own code, with its real parameters, without hooks."""
        inside = list(module.modules())
        in_place = [vars(part) for part in inside if vars(part).get("inplace") is True]
        try:
            for part in inside:
                vars(part).pop("forward", None)
                vars(part).update(self._real[part])
            for own in in_place:
                own["inplace"] = False
            return module.forward(*args, **kwargs)
        finally:
            for part in inside:
                vars(part).update(self._traced[part])
            for own in in_place:
                own["inplace"] = True

    def _reporting(
        self, recorder: GraphRecorder, path: str, module: nn.Module
    ) -> Callable[..., Any]:
        original, leaf = module.forward, is_leaf(module)

        def forward(*args: Any, **kwargs: Any) -> Any:
            code = original
            if leaf and not wrapped_by_functorch((args, kwargs)):
                if not isinstance(module, Recurrent):
                    return recorder.call_module(path, args, kwargs)
                code = partial(module.called, lambda *given: recorder.call_module(path, given, {}))
            before, recorder.path = recorder.path, path
            try:
                return code(*args, **kwargs)
            except Exception as cause:
                if self.failed is None or self.failed[0] is not cause:
                    self.failed = cause, path
                raise
            finally:
                recorder.path = before

        return forward
