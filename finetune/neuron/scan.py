"""A layer of neurons over the timesteps of a chunk as one differentiable operation."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spikeport.finetune.neuron.compiling import compile_or_say
from spikeport.finetune.neuron.scan_gradient import Gradients, backward
from spikeport.finetune.neuron.scan_step import ChunkStart, FiringRule, Scanned, fire

PART_BYTES = 2**18  # of one tensor of the images that go through time together on a CPU


def scan(
    current: Tensor, start: ChunkStart, time: int, rule: FiringRule, compiled: bool = False
) -> Scanned:
    """``fire`` with its derivative.

    Args:
        current: [t, B, ...], activation units.
        start: the state before.
        time: timesteps before.
        rule: how.
        compiled: by ``torch.compile``, which takes a while at first, the longer the more timesteps
            and levels; results are the same but for the order of sums.

    Raises:
        ConversionError: there is nothing to compile with.
    """
    if not _channels_last(current):
        return Scanned(*_Scan.apply(current, *start, time, rule, compiled))
    # in the order of memory, so that all results lie like the input
    moved = [x if x is None or x.ndim < 3 else x.movedim(-3, -1) for x in (current, *start)]
    found = Scanned(*_Scan.apply(*moved, time, rule, compiled))
    return found.each(lambda x: x.movedim(-1, -3) if x.ndim > 1 else x)


def _channels_last(current: Tensor) -> bool:
    """Whether [t, B, C, H, W] are images with their channels side by side in memory."""
    if current.ndim != 5 or not len(current):
        return False
    first = current[0]
    return first.is_contiguous(memory_format=torch.channels_last) and not first.is_contiguous()


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        correction: Tensor | None,
        threshold: Tensor,
        leak: Tensor | None,
        v: Tensor,
        total: Tensor | None,
        low: Tensor | None,
        high: Tensor | None,
        time: int,
        rule: FiringRule,
        compiled: bool,
    ) -> tuple[Tensor | None, ...]:
        start = ChunkStart(correction, threshold, leak, v, total, low, high)
        run = _run(compiled, fire, _fire_in_parts)
        made = run(rule, current.detach(), start.detached(), time)
        ctx.save_for_backward(*start, made.emitted, made.potentials, made.total)
        ctx.time, ctx.rule, ctx.compiled = time, rule, compiled
        ctx.set_materialize_grads(False)
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *before, emitted, potentials, totals = ctx.saved_tensors
        start = ChunkStart(*before).detached()
        made = Scanned(emitted, potentials, start.v, start.v, totals).each(torch.Tensor.detach)
        run = _run(ctx.compiled, backward, _backward_in_parts)
        found = run(ctx.rule, start, made, Scanned(*grads), ctx.time)  # type: ignore[arg-type]
        shift = start.correction
        by_correction = (
            None if shift is None else found.current.to(shift.dtype).sum_to_size(shift.shape)
        )
        return found.current, by_correction, *found[1:], None, None, None, None, None


def _fire_in_parts(rule: FiringRule, current: Tensor, start: ChunkStart, time: int) -> Scanned:
    """``fire`` for a few images after the others, whose numbers stay in a processor's cache."""
    emitted = current.new_empty(current.shape)
    after = start.v.new_empty(emitted[0].shape)
    totals = None if start.total is None else torch.empty_like(after)
    potentials = torch.empty_like(emitted, dtype=after.dtype)
    made = Scanned(emitted, potentials, after.new_empty(len(after)), after, totals)
    for part in _parts(after):
        found = fire(rule, current[:, part], start.of(part), time)
        for whole, its in zip(made.of(part), found, strict=True):
            if whole is not None and its is not None:
                whole.copy_(its)
    return made


def _backward_in_parts(
    rule: FiringRule, start: ChunkStart, saved: Scanned, grads: Scanned, time: int
) -> Gradients:
    by_current = torch.empty_like(saved.emitted)
    by_v = torch.empty_like(by_current[0], dtype=start.v.dtype)
    by_total = None if saved.total is None else torch.empty_like(by_v)
    by_threshold = torch.zeros_like(start.threshold)
    by_leak = None if start.leak is None else torch.zeros_like(start.leak)
    for part in _parts(by_v):
        found = backward(rule, start.of(part), saved.of(part), grads.of(part), time)
        by_current[:, part], by_v[part] = found.current, found.v
        by_threshold += found.threshold
        if by_leak is not None and found.leak is not None:
            by_leak += found.leak
        if by_total is not None and found.total is not None:
            by_total[part] = found.total
    return Gradients(by_current, by_threshold, by_leak, by_v, by_total)


def _parts(like: Tensor) -> list[slice]:
    """Images, [B, ...], in groups."""
    size = max(1, len(like))
    if like.device.type == "cpu" and like.numel():
        size = max(1, PART_BYTES * size // (like.numel() * like.element_size()))
    return [slice(begin, begin + size) for begin in range(0, len(like), size)]


def _run(compiled: bool, function: Callable[..., Any], parts: Callable[..., Any]) -> Any:
    """A callable that runs ``function``: itself where it is compiled with what is around it."""
    if torch.compiler.is_compiling():
        return function
    return _compiled(function) if compiled else parts


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return compile_or_say(function, dynamic=True)
