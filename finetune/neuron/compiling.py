"""torch.compile, with a message that says the way out."""

from collections.abc import Callable
from typing import Any

import torch

from spikeport.convert import ConversionError


def compile_or_say(function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
    """``torch.compile``; the function that comes back raises ConversionError without a compiler.

    Args:
        function: or a module.
        dynamic: one result for inputs of every shape.
    """
    from torch._dynamo.exc import BackendCompilerFailed  # slow to import

    compiled = torch.compile(function, dynamic=dynamic)

    def run(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except BackendCompilerFailed as error:
            inner = error.inner_exception
            reason = (str(inner).strip() or repr(inner)).splitlines()[0]
            raise ConversionError(
                f"torch.compile cannot compile the neurons: {reason}; install a C++ compiler, or "
                "leave out compiled=True (--compile)"
            ) from error

    return run
