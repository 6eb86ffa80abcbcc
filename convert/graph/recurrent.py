"""torch's recurrent layers over a sequence, with the batch first in everything they take and give.

torch's own have the layers, not the images, as the first dimension of their states; time could not
be folded into them.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from spikeport.convert.errors import ConversionError


class Recurrent(nn.RNNBase):
    """A recurrent layer over a sequence that is complete at every timestep.

    Attributes:
        sequence_first: whether the source network calls it with [L, B, C].
    """

    sequence_first = False

    def forward(self, input: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """[B, L, C] and initial states [B, K, H] to outputs [B, L, C'] and last states [B, K, H].

        K is the number of layers times that of directions. Without initial states they are zero.
        """
        given: Any = tuple(state.transpose(0, 1).contiguous() for state in states)
        if len(given) < 2:
            given = given[0] if given else None
        output, last = super().forward(input, given)
        last = last if isinstance(last, tuple) else (last,)
        return output, *(state.transpose(0, 1) for state in last)

    def called(self, call: Callable[..., Any], input: Tensor, hx: Any = None) -> Any:
        """The result of torch's layer on torch's arguments.

        Args:
            call: ``forward``.
            input: [B, L, C], or [L, B, C] where the sequence comes first.
            hx: initial states as torch takes them, [K, B, H], in a pair for an LSTM.

        Raises:
            ConversionError: a sequence without a batch.
        """
        kind = type(self).__name__
        if input.ndim != 3:
            raise ConversionError(
                f"the {kind} is called with {list(input.shape)}; expected a batch of sequences, "
                "[B, L, C]"
            )
        initial = () if hx is None else hx if isinstance(hx, (tuple, list)) else (hx,)
        states = [state.transpose(0, 1) for state in initial]
        output, *last = call(input.transpose(0, 1) if self.sequence_first else input, *states)
        last = [state.transpose(0, 1) for state in last]
        if self.sequence_first:
            output = output.transpose(0, 1)
        return output, (tuple(last) if len(last) > 1 else last[0])


class LSTM(Recurrent, nn.LSTM):  # type: ignore[misc]
    """Long short-term memory."""

    op_name = "lstm"


class GRU(Recurrent, nn.GRU):  # type: ignore[misc]
    """Gated recurrent units."""

    op_name = "gru"


class RNN(Recurrent, nn.RNN):  # type: ignore[misc]
    """Elman recurrence."""

    op_name = "rnn"


_OPENED: dict[type[nn.Module], type[Recurrent]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}


def open_recurrent(module: nn.Module) -> None:
    """Let a recurrent layer of torch's have the batch first, in place; other modules stay."""
    for kind, opened in _OPENED.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            sequence_first = not module.batch_first
            module.__class__ = opened
            vars(module).update(batch_first=True, sequence_first=sequence_first)
