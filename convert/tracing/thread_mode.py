"""Modes that are on in the thread that traces, and in no other."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch.overrides import TorchFunctionMode

from spikeport.convert.tracing.traced_tensor import TensorRecorder


class SeenCalls(TorchFunctionMode):
    """Shows a recorder every call of torch's functions, also of factories, in its thread."""

    def __init__(self, recorder: TensorRecorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.recorder.torch_function(func, args, kwargs or {})


def compiled_functions_as_python() -> AbstractContextManager[Any]:
    """Let what ``torch.compile`` made run as the Python that it was made of."""
    from torch._dynamo import eval_frame  # slow, and fake tensors import it in any case

    eagerly: Any = getattr(eval_frame, "_use_eager_on_nested_compile", nullcontext)
    return eagerly()
