"""A layer of neurons over the timesteps of a chunk, as one operation of torch.

Neurons are a row of memory, [N]; see ``layout.py`` for tensors [T, B, C, ...]. Arithmetic and state
are in float32 whatever the currents are: what comes out is the torch definition's result for
``current.float()``, in the currents' dtype.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikeport.cuda.launch import launch
from spikeport.cuda.rules import Rules
from spikeport.cuda.shapes import channel_numbers, element_type, groups, vector, words_of
from spikeport.cuda.source import Build

EMITS = ("nothing", "packed", "counts", "values")
SEGMENT = 8  # timesteps between two potentials that a backward scan starts from

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("spikeport::scan", mutates_args=())
def scan(
    current: Tensor,
    residual: Tensor | None,
    threshold: Tensor,
    lowest: Tensor | None,
    highest: Tensor | None,
    v: Tensor,
    total: Tensor | None,
    rules: Sequence[float],
    timesteps: int,
    inner: int,
    time: int,
    emit: str,
    count: bool,
    keep: bool,
) -> Outputs:
    """Integrate, fire and reset for some timesteps.

    Differentiable in ``current``, ``residual``, ``threshold`` and ``v`` if ``emit`` is "values".

    Args:
        current: [T, N], or [1, N] for the same current at every timestep; float32, float16 or
            bfloat16, activation units.
        residual: a second current that is added, [T, N], or None.
        threshold: θ, float32 [C].
        lowest: lower bound of total / time, in thresholds, float32 [C], or None.
        highest: upper bound of it, or None.
        v: membrane potentials before the chunk, float32 [N].
        total: spikes before the chunk, signed, float32 [N]; needed where there is a bound.
        rules: ``Rules.listed``.
        timesteps: T.
        inner: neighbours in memory that share a channel.
        time: timesteps before the chunk.
        emit: "nothing" (the totals tell), "packed" (int32 [T, planes * words]), "counts"
            (int8 [T, N], up to 127) or "values" (spikes times θ, [T, N], in the currents' dtype).
        count: add up the spikes of each channel.
        keep: keep the potentials that the gradient needs.

    Returns:
        What was emitted, v and total after the chunk, spikes per channel (int64 [C]) and the
        kept potentials and totals, [S, N]; an empty tensor for each that is not wanted.

    Raises:
        TypeError: currents of another dtype.
        ValueError: an unknown ``emit``, more spikes than int8 holds, sizes beyond 2^31 an image.
    """
    out, after, totals, counts, kept_v, kept_total = _outputs(
        current, threshold, v, total, rules, timesteps, emit, count, keep
    )
    how, many = Rules.of(rules), vector(v.numel(), current, residual, out)
    element = element_type(current.dtype)
    build = Build.of(
        "scan",
        SP_IN=element,
        SP_OUT={"packed": "u32", "counts": "i8"}.get(emit, element),
        SP_VECTOR=many,
        SP_EMIT=EMITS.index(emit),
        SP_PLANES=how.planes if emit == "packed" else 0,
        **how.form(lowest is not None or highest is not None),
        SP_CONSTANT=int(current.shape[0] != timesteps),
        SP_RESIDUAL=int(residual is not None),
        SP_COUNT=int(count),
        SP_KEEP=int(keep),
    )
    launch(
        build,
        (groups(v.numel(), many),),
        current=current,
        residual=residual,
        threshold=threshold,
        **how.bounds(threshold, lowest, highest),
        v=v,
        total=total,
        v_after=after,
        total_after=None if total is None else totals,
        out=None if emit == "nothing" else out,
        counts=counts if count else None,
        kept_v=kept_v if keep else None,
        kept_total=kept_total if keep and total is not None else None,
        T=timesteps,
        N=v.numel(),
        D=out.shape[1],
        **channel_numbers(v.numel(), threshold.numel(), inner),
        time=time,
        **how.arguments(),
    )
    return out, after, totals, counts, kept_v, kept_total


@torch.library.custom_op("spikeport::scan_backward", mutates_args=())
def scan_backward(
    current: Tensor,
    grad_out: Tensor,
    threshold: Tensor,
    lowest: Tensor | None,
    highest: Tensor | None,
    kept_v: Tensor,
    kept_total: Tensor | None,
    grad_v: Tensor,
    rules: Sequence[float],
    inner: int,
    time: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``scan`` with ``emit="values"``; see kernels/backward.cu for the surrogate.

    Args:
        current: [T, N], with the residual added.
        grad_out: of the emitted values, [T, N], in the currents' dtype.
        threshold, lowest, highest, rules, inner, time: as for ``scan``.
        kept_v: potentials that ``scan`` kept, float32 [S, N].
        kept_total: totals that it kept, or None.
        grad_v: of the potentials after the chunk, float32 [N].

    Returns:
        The gradients of the current, [T, N], of each neuron's threshold, float32 [N], and of
        the potentials before the chunk, float32 [N].
    """
    timesteps, neurons = current.shape
    grad_current, grad_threshold = torch.empty_like(current), torch.empty_like(grad_v)
    grad_before, how = grad_v.clone(), Rules.of(rules)
    element = element_type(current.dtype)
    form = how.form(lowest is not None or highest is not None)
    launch(
        Build.of("backward", SP_IN=element, SP_OUT=element, **form),
        (neurons,),
        current=current,
        grad_out=grad_out,
        threshold=threshold,
        **how.bounds(threshold, lowest, highest),
        kept_v=kept_v,
        kept_total=kept_total,
        grad_current=grad_current,
        grad_threshold=grad_threshold,
        grad_v=grad_before,
        T=timesteps,
        N=neurons,
        **channel_numbers(neurons, threshold.numel(), inner),
        time=time,
        **how.arguments(),
        width=how.width,
    )
    return grad_current, grad_threshold, grad_before


@scan.register_fake
def _(
    current: Tensor,
    residual: Tensor | None,
    threshold: Tensor,
    lowest: Tensor | None,
    highest: Tensor | None,
    v: Tensor,
    total: Tensor | None,
    rules: Sequence[float],
    timesteps: int,
    inner: int,
    time: int,
    emit: str,
    count: bool,
    keep: bool,
) -> Outputs:
    return _outputs(current, threshold, v, total, rules, timesteps, emit, count, keep)


@scan_backward.register_fake
def _(current: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    row = current.new_empty(current.shape[1], dtype=torch.float32)
    return torch.empty_like(current), row, torch.empty_like(row)


def _outputs(
    current: Tensor,
    threshold: Tensor,
    v: Tensor,
    total: Tensor | None,
    rules: Sequence[float],
    timesteps: int,
    emit: str,
    count: bool,
    keep: bool,
) -> Outputs:
    """The tensors that ``scan`` returns, not yet written; the counts are 0."""
    neurons, how = v.shape[0], Rules.of(rules)
    if emit == "counts" and max(how.max_up, how.max_down) > 127:
        raise ValueError(f"{how} fires more than int8 holds: use emit='packed' or 'values'")
    forms = {
        "nothing": ((0, 0), current.dtype),
        "packed": ((timesteps, how.planes * words_of(neurons)), torch.int32),
        "counts": ((timesteps, neurons), torch.int8),
        "values": ((timesteps, neurons), current.dtype),
    }
    if emit not in forms:
        raise ValueError(f"emit is {emit!r}; expected one of {EMITS}")
    shape, dtype = forms[emit]
    segments = (-(-timesteps // SEGMENT), neurons)
    return (
        current.new_empty(shape, dtype=dtype),
        torch.empty_like(v),
        v.new_empty(0 if total is None else neurons),
        threshold.new_zeros(threshold.shape[0] if count else 0, dtype=torch.int64),
        v.new_empty(segments if keep else (0, 0)),
        v.new_empty(segments if keep and total is not None else (0, 0)),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    current, residual, threshold, lowest, highest, _, total, rules, steps = inputs[:9]
    inner, time, emit, _, keep = inputs[9:]
    if emit != "values" or not keep or (current.shape[0] != steps and residual is not None):
        raise ValueError(
            "gradients of scan need emit='values', keep=True and a current for each timestep; "
            "call it under torch.no_grad() otherwise"
        )
    kept_total = None if total is None else output[5]
    ctx.save_for_backward(current, residual, threshold, lowest, highest, output[4], kept_total)
    ctx.rules, ctx.inner, ctx.time, ctx.steps = rules, inner, time, steps
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_out: Tensor | None, grad_v: Tensor | None, *_: Any) -> tuple[Any, ...]:
    current, residual, threshold, lowest, highest, kept_v, kept_total = ctx.saved_tensors
    at_each = current if current.shape[0] == ctx.steps else current.expand(ctx.steps, -1)
    if residual is not None:
        at_each = at_each + residual
    if grad_out is None:
        grad_out = torch.zeros_like(at_each)
    if grad_v is None:
        grad_v = kept_v.new_zeros(kept_v.shape[1])
    grad, grad_neurons, grad_before = scan_backward(
        at_each.contiguous(),
        grad_out.contiguous(),
        *(threshold, lowest, highest, kept_v, kept_total, grad_v.contiguous()),
        *(ctx.rules, ctx.inner, ctx.time),
    )
    channels = grad_neurons.view(-1, threshold.shape[0], ctx.inner).sum((0, 2))
    whole = grad if current.shape[0] == ctx.steps else grad.sum(0, keepdim=True)
    of_residual = None if residual is None else grad
    return whole, of_residual, channels, None, None, grad_before, *[None] * 8


scan.register_autograd(_backward, setup_context=_remember)
