"""Trace a network into a graph whose every node knows the shape of its value.

Plain ``torch.fx.symbolic_trace`` stops at the first ``if x.shape[0] > 1``. Here the network's code
runs once on tensors without data (``traced_tensor.py``) and on sizes that remember where they come
from (``traced_numbers.py``), so that shape arithmetic, ``len``, ``isinstance`` and comparisons do
what they would do on a real input. Each decision taken that way is kept as a guard, and checked
again on inputs of another shape.

Nothing of torch's is replaced: the calls of torch's functions are seen by a mode of this thread
(``recorder.py``), those of modules by the copied modules themselves (``instrumented.py``).
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.output_types import taken_apart
from spikeport.convert.tracing.instrumented import Instrumented, is_leaf
from spikeport.convert.tracing.recorder import GraphRecorder
from spikeport.convert.tracing.source_copy import drop_hooks, plain_copy


def trace(
    network: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    simplify: Callable[[nn.Module], None] | None = None,
) -> tuple[fx.Graph, nn.Module]:
    """Record what ``network(*args, **kwargs)`` does to the tensors in its arguments.

    Args:
        network: the source network, in eval mode; never modified.
        args: an example of its arguments. Tensors, also in tuples, lists and dicts, become inputs
            of the graph, of which only shape, dtype and device are read; everything else is part of
            the program.
        kwargs: an example of its keyword arguments, likewise.
        simplify: rewrites the copy before it is traced, without changing what it computes.

    Returns:
        The graph and the copy of the network that its nodes refer to. Every node has
        ``meta["value"]`` (fake tensor or Python value), ``meta["path"]`` (module path in the source
        network) and, where Python code decided on it, ``meta["guard"]`` (the value it had).

    Raises:
        ConversionError: the network cannot be traced; the message names the module and the cause.
    """
    root = plain_copy(network)
    if is_leaf(root):
        root = nn.Sequential(root)  # a graph can only call a module that has a name
    if simplify is not None:
        simplify(root)
    modules = Instrumented(root)
    recorder = GraphRecorder(root, modules.run)
    inputs, named = _inputs(recorder, network, args, kwargs or {})
    try:
        with modules.of(recorder), recorder.recording():
            output, form = taken_apart(root(*inputs, **named))
            recorder.output(output, form)
    except ConversionError:
        raise
    except Exception as cause:
        raise ConversionError(_message(network, recorder, modules, cause)) from cause
    for name, value in recorder.constants.items():
        root.register_buffer(name, value)
    for module in recorder.write_in_place:
        vars(module)["inplace"] = False
    drop_hooks(root)
    recorder.graph._tracer_cls = None
    return recorder.graph, root


def _inputs(
    recorder: GraphRecorder, network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with placeholders, named after the network's parameters, for their tensors."""
    try:
        names = list(inspect.signature(network.forward).parameters)
    except (TypeError, ValueError):
        names = []
    names += [f"input_{index}" for index in range(len(names), len(args))]

    def traced(name: str, value: Any) -> Any:
        return pytree.tree_map_only(Tensor, lambda one: recorder.input(name, one), value)

    positional = tuple(traced(name, value) for name, value in zip(names, args, strict=False))
    return positional, {name: traced(name, value) for name, value in kwargs.items()}


def _message(
    network: nn.Module, recorder: GraphRecorder, modules: Instrumented, cause: Exception
) -> str:
    path = modules.failed[1] if modules.failed is not None else ""
    after = f" after '{recorder.last}'" if recorder.last else ""
    text = str(cause).strip().split("\n")[0]
    if "SymInt" in text:
        text = (
            "it takes a size that was read off the input as a plain number; use a function that "
            "follows it, such as torch.zeros(n, m) instead of torch.FloatTensor(n, m), or int(n)"
        )
    return (
        f"'{type(network).__name__}' cannot be traced: {type(cause).__name__} in "
        f"'{path or 'the top module'}'{after}: {text}. Convert a submodule (for example the "
        "backbone), or rewrite that part."
    )
