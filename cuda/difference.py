"""Operations around a function that does not commute with the mean over time.

Such a function F is evaluated on the running mean m of its inputs and emits the difference
``y_t = t F(m_t) - (t - 1) F(m_{t-1})``: ``running_mean``, F by torch, ``emit_difference``.
Both are linear in both of their tensors.
"""

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
    """Emissions of a difference op at every timestep of a chunk.

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
