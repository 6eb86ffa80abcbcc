"""Operations around a function that does not commute with the mean over time.

Such a function F is evaluated on the running mean m of its inputs and emits the difference
``y_t = t F(m_t) - (t - 1) F(m_{t-1})``: ``running_mean``, F by torch, ``emit_difference``.
Both are linear, and differentiable in both of their tensors.
"""

from typing import Any

import torch
from torch import Tensor

from spikeport.cuda.launch import launch
from spikeport.cuda.shapes import element_type, groups, vector
from spikeport.cuda.source import Build


@torch.library.custom_op("spikeport::running_mean", mutates_args=())
def running_mean(x: Tensor, total: Tensor, time: int, divide: bool) -> tuple[Tensor, Tensor]:
    """The mean over all timesteps so far, at every timestep of a chunk.

    Args:
        x: [T, N]; float32, float16 or bfloat16.
        total: sum over the timesteps before the chunk, float32 [N].
        time: how many these are.
        divide: False gives the sums themselves.

    Returns:
        The means, [T, N], in the dtype of x, and the sum after the chunk.
    """
    mean, after = torch.empty_like(x), total.clone()
    many, element = vector(total.numel(), x, mean), element_type(x.dtype)
    launch(
        Build.of("running_mean", SP_IN=element, SP_OUT=element, SP_VECTOR=many),
        (groups(total.numel(), many),),
        x=x,
        sum=after,
        mean=mean,
        T=len(x),
        N=total.numel(),
        time=time,
        divide=divide,
    )
    return mean, after


@torch.library.custom_op("spikeport::emit_difference", mutates_args=())
def emit_difference(
    at_mean: Tensor, previous: Tensor, time: int, multiply: bool
) -> tuple[Tensor, Tensor]:
    """What a difference op emits at every timestep of a chunk.

    Args:
        at_mean: F of the running means, [T, N].
        previous: t F(m_t) at the last timestep before the chunk, float32 [N]; 0 at first.
        time: timesteps before the chunk.
        multiply: False if F was given the running sums (then ``F(c x) = c F(x)``).

    Returns:
        The differences, [T, N], in the dtype of ``at_mean``, and t F(m_t) after the chunk.
    """
    out, after = torch.empty_like(at_mean), previous.clone()
    many, element = vector(previous.numel(), at_mean, out), element_type(at_mean.dtype)
    launch(
        Build.of("emit_difference", SP_IN=element, SP_OUT=element, SP_VECTOR=many),
        (groups(previous.numel(), many),),
        at_mean=at_mean,
        previous=after,
        y=out,
        T=len(at_mean),
        N=previous.numel(),
        time=time,
        multiply=multiply,
    )
    return out, after


@running_mean.register_fake
@emit_difference.register_fake
def _(x: Tensor, state: Tensor, time: int, times: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(state)


def _remember(
    ctx: Any, inputs: tuple[Tensor, Tensor, int, bool], output: tuple[Tensor, ...]
) -> None:
    *_, ctx.time, ctx.times = inputs


def _timesteps(ctx: Any, like: Tensor) -> Tensor:
    """1-based numbers of the timesteps, float32 [T, 1], or ones where nothing is divided."""
    steps = torch.arange(ctx.time + 1, ctx.time + len(like) + 1, device=like.device)
    return (steps if ctx.times else torch.ones_like(steps)).float()[:, None]


def _through_mean(ctx: Any, grad_mean: Tensor, grad_after: Tensor) -> tuple[Tensor | None, ...]:
    """Every input counts in the means from its own timestep on."""
    each = grad_mean.float() / _timesteps(ctx, grad_mean)
    later = each.flip(0).cumsum(0).flip(0) + grad_after
    return later.to(grad_mean.dtype), later[0], None, None


def _through_difference(ctx: Any, grad: Tensor, grad_after: Tensor) -> tuple[Tensor | None, ...]:
    """Every t F(m_t) is emitted at its own timestep and taken back at the next one."""
    next_grad = torch.cat([grad[1:].float(), -grad_after[None]])
    at_mean = (grad.float() - next_grad) * _timesteps(ctx, grad)
    return at_mean.to(grad.dtype), -grad[0].float(), None, None


running_mean.register_autograd(_through_mean, setup_context=_remember)
emit_difference.register_autograd(_through_difference, setup_context=_remember)
