"""Support for an operation from outside the package: one call registers it."""

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph import ops

ACTS = {"linear": ops.LINEAR, "difference": ops.DIFFERENCE}
LEAVES: set[type[nn.Module]] = set()
REWRITES: dict[Any, Callable[..., Any]] = {}


def register_op(op: str | Callable[..., Any] | type[nn.Module], how: Any) -> None:
    """Tell the converter what to do with an operation that it does not know.

    It holds for every conversion after it in this process. A file with such an operation in it
    can be loaded after the same call; a module of a class of your own cannot be saved.

    Args:
        op: a function of torch (``torch.cumsum``, ``torch.ops.mine.op``), the name of a tensor
            method (``"cumsum"``), or a module class, which then is not looked into.
        how: ``"linear"``, if the mean over time of what it returns is what it returns for the mean:
            it then acts on every timestep by itself. ``"difference"`` for any other function of
            its inputs: it is evaluated on their running mean and emits the difference. Or a
            function that does the same with operations that the converter knows: called with
            the arguments of the function or method, or, for a module class, with the module, to
            return the module that takes its place.

    Raises:
        ConversionError: ``op`` or ``how`` is none of these.
    """
    is_class = isinstance(op, type) and issubclass(op, nn.Module)
    if not (is_class or isinstance(op, str) or (callable(op) and not isinstance(op, type))):
        raise ConversionError(
            f"register_op: op is {op!r}; expected a function, the name of a tensor method or a "
            "class of modules"
        )
    if callable(how):
        REWRITES[op] = how
        return
    if how not in ACTS:
        raise ConversionError(
            f"register_op: how is {how!r}; expected one of {sorted(ACTS)} or a function that does "
            "the same with operations that are known"
        )
    name = _bare_name(op)
    for table in ACTS.values():
        table.discard(name)
    ACTS[how].add(name)
    ops.REGISTERED.add(name)
    if is_class:
        LEAVES.add(op)  # type: ignore[arg-type]
    elif callable(op) and ops.function_name(op) is None:
        ops.name_function(f"registered.{name}", op)


def rewritten(kind: str, target: Any) -> Callable[..., Any] | None:
    """What was registered to be called instead of a function or method, if anything."""
    return REWRITES.get(target) if kind in ("call_function", "call_method") else None


def replace_modules(root: nn.Module) -> None:
    """Put what was registered for their class in the places of modules, in place."""
    for path, module in list(root.named_modules()):
        how = REWRITES.get(type(module))
        if how is not None and path:
            parent, _, name = path.rpartition(".")
            setattr(root.get_submodule(parent), name, how(module).train(False))


def _bare_name(op: Any) -> str:
    """The name that ``ops.bare_name`` finds for a node that calls ``op``."""
    graph = fx.Graph()
    if isinstance(op, str):
        return ops.bare_name(graph.call_method(op))
    if isinstance(op, type):
        return getattr(op, "op_name", op.__name__)
    return ops.bare_name(graph.call_function(op))
