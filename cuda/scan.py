"""A layer of neurons over the timesteps of a chunk, as one operation of torch.

Neurons are a row of memory, [N]; see ``layout.py`` for tensors [T, B, C, ...]. Arithmetic and state
are in float32 whatever the currents are: what comes out is the torch definition's result for
``current.float()``, in the currents' dtype. Potentials that are whole numbers of more bits than
float32 holds are in float64.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spikeport.cuda.launch import launch
from spikeport.cuda.rules import Rules
from spikeport.cuda.shapes import channel_numbers, element_type, groups, vector, words_of
from spikeport.cuda.source import Build

EMITS = ("nothing", "packed", "counts", "values")

Outputs = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("spikeport::scan", mutates_args=())
def scan(
    current: Tensor,
    residual: Tensor | None,
    threshold: Tensor,
    value: Tensor | None,
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
) -> Outputs:
    """Integrate, fire and reset for some timesteps.

    Args:
        current: [T, N], or [1, N] for the same current at every timestep; float32, float16 or
            bfloat16, activation units.
        residual: a second current that is added, [T, N], or None.
        threshold: θ, float32 [C].
        value: of a spike in what is emitted, float32 [C]; None where it is θ.
        lowest: lower bound of total / time, in thresholds, [C] in ``Rules.state_type``, or None.
        highest: upper bound of it, or None.
        v: membrane potentials before the chunk, [N] in ``Rules.state_type``.
        total: spikes before the chunk, signed, float32 [N]; needed where there is a bound.
        rules: ``Rules.listed``.
        timesteps: T.
        inner: neighbours in memory that share a channel.
        time: timesteps before the chunk.
        emit: "nothing" (the totals tell), "packed" (int32 [T, planes * words]), "counts"
            (int8 [T, N], up to 127) or "values" (spikes times their value, [T, N], in the currents'
            dtype).
        count: add up the spikes of each channel.

    Returns:
        What was emitted, v and total after the chunk, and spikes per channel (int64 [C]); an empty
        tensor for each that is not wanted.

    Raises:
        TypeError: currents of another dtype.
        ValueError: an unknown ``emit``, more spikes than int8 holds, sizes beyond 2^31 an image.
    """
    out, after, totals, counts = _outputs(
        current, threshold, v, total, rules, timesteps, emit, count
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
        SP_VALUE=int(value is not None),
    )
    launch(
        build,
        (groups(v.numel(), many),),
        current=current,
        residual=residual,
        threshold=threshold,
        value=value,
        **how.bounds(lowest, highest),
        v=v,
        total=total,
        v_after=after,
        total_after=None if total is None else totals,
        out=None if emit == "nothing" else out,
        counts=counts if count else None,
        T=timesteps,
        N=v.numel(),
        D=out.shape[1],
        **channel_numbers(v.numel(), threshold.numel(), inner),
        time=time,
        **how.arguments(),
    )
    return out, after, totals, counts


@scan.register_fake
def _(
    current: Tensor,
    residual: Tensor | None,
    threshold: Tensor,
    value: Tensor | None,
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
) -> Outputs:
    return _outputs(current, threshold, v, total, rules, timesteps, emit, count)


def _outputs(
    current: Tensor,
    threshold: Tensor,
    v: Tensor,
    total: Tensor | None,
    rules: Sequence[float],
    timesteps: int,
    emit: str,
    count: bool,
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
    return (
        current.new_empty(shape, dtype=dtype),
        torch.empty_like(v),
        v.new_empty(0 if total is None else neurons, dtype=torch.float32),
        threshold.new_zeros(threshold.shape[0] if count else 0, dtype=torch.int64),
    )
