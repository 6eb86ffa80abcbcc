"""Support for an operation from outside the package: one call registers its row."""

import warnings
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.operations import spelling
from spikeport.convert.graph.operations.macs import measured
from spikeport.convert.graph.operations.operation import IN_TIME_KINDS, InTime, Operation
from spikeport.convert.graph.operations.spikes import RULES, UNKNOWN, SpikeRule
from spikeport.convert.graph.operations.table import REGISTERED

ALLOWED = tuple(kind for kind in IN_TIME_KINDS if kind != "weighted")
LEAVES: set[type[nn.Module]] = set()
REWRITES: dict[Any, Callable[..., Any]] = {}


def register_op(
    op: str | Callable[..., Any] | type[nn.Module],
    in_time: InTime | None = None,
    *,
    instead: Callable[..., Any] | None = None,
    **row: Any,
) -> None:
    """Tell the converter what an operation is that it does not know.

    It holds for every conversion after it in this process. A file with such an operation in it
    can be loaded after the same call; a module of a class of your own cannot be saved.

    Args:
        op: a function of torch (``torch.cumsum``, ``torch.ops.mine.op``), the name of a tensor
            method (``"cumsum"``), or a module class, which then is not looked into.
        in_time: ``"linear"``, if the mean over time of what it returns is what it returns for the
            mean: it then acts on every timestep by itself. ``"product"``, if that holds for each
            of its factors. ``"difference"`` for any other function of its inputs: it is evaluated
            on their running mean and emits the difference. ``"shape"``, if it reads sizes only;
            ``"fixed"``, if it may act on constants and the constant input only.
        instead: a function that does the same with operations that the converter knows, in place
            of ``in_time``: called with the arguments of the function or method, or, for a module
            class, with the module, to return the module that takes its place.
        **row: the other fields of ``Operation``. ``spikes`` may be a name: "moved", "added" (of
            several inputs), "accumulated" (over positions), "scaled" or "mixed" to analog values;
            without it what comes out is analog and is charged so. Without ``macs``, a function of
            a ``Call``, the multiply-accumulates are those that torch's counter of floating point
            operations knows. A warning says what is missing.

    Raises:
        ConversionError: one of them is none of these.
    """
    is_class = isinstance(op, type) and issubclass(op, nn.Module)
    if not (is_class or isinstance(op, str) or (callable(op) and not isinstance(op, type))):
        raise ConversionError(
            f"register_op: op is {op!r}; expected a function, the name of a tensor method or a "
            "class of modules"
        )
    if instead is not None:
        _require_function(instead)
        REWRITES[op] = instead
        return
    if in_time not in ALLOWED:
        raise ConversionError(
            f"register_op: in_time is {in_time!r}; expected one of {sorted(ALLOWED)}, or "
            "instead=… with a function that does the same with operations that are known"
        )
    name = _bare_name(op)
    REGISTERED[name] = _row(name, in_time, row)
    if is_class:
        LEAVES.add(op)  # type: ignore[arg-type]
    elif callable(op) and spelling.function_name(op) is None:
        spelling.name_function(f"registered.{name}", op)


def _require_function(instead: Any) -> None:
    if not callable(instead):
        raise ConversionError(
            f"register_op: instead is {instead!r}; expected a function that does the same with "
            "operations that are known"
        )


def _row(name: str, in_time: InTime, fields: dict[str, Any]) -> Operation:
    spikes = fields.get("spikes", UNKNOWN)
    if not isinstance(spikes, SpikeRule) and spikes not in RULES:
        raise ConversionError(f"register_op: spikes is {spikes!r}; expected one of {sorted(RULES)}")
    given = {"macs": measured, **fields, "spikes": RULES.get(spikes, spikes)}
    try:
        row = Operation(name, in_time, **given)
    except TypeError as error:
        known = sorted(set(Operation.__dataclass_fields__) - {"name", "in_time"})
        raise ConversionError(f"register_op: {error}; the fields of a row are {known}") from error
    missing = []
    if in_time in ("linear", "product") and row.spikes is UNKNOWN:
        missing.append("spikes= (what comes out is charged as analog values)")
    if in_time in ("product", "difference") and "macs" not in fields:
        missing.append("macs= (multiply-accumulates are those that torch's counter finds)")
    if missing:
        warnings.warn(
            f"register_op: the row of '{name}' has no {' and no '.join(missing)}", stacklevel=3
        )
    return row


def rewritten(kind: str, target: Any) -> Callable[..., Any] | None:
    """The function that was registered to be called instead of a function or method, if any."""
    return REWRITES.get(target) if kind in ("call_function", "call_method") else None


def replace_modules(root: nn.Module) -> None:
    """Put the modules that were registered for their class in the places of modules, in place."""
    for path, module in list(root.named_modules()):
        how = REWRITES.get(type(module))
        if how is not None and path:
            parent, _, name = path.rpartition(".")
            setattr(root.get_submodule(parent), name, how(module).train(False))


def _bare_name(op: Any) -> str:
    """The name that ``written_name`` finds for a node that calls ``op``."""
    graph = fx.Graph()
    if isinstance(op, str):
        return spelling.written_name(graph.call_method(op))
    if isinstance(op, type):
        return getattr(op, "op_name", op.__name__)
    return spelling.written_name(graph.call_function(op))
