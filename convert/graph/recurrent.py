"""torch's recurrent layers over a sequence, as functions of one tensor."""

from typing import Any

from torch import Tensor, nn


class Recurrent:
    """Marks the layers of this file, which return ``(output, None)``.

    Their states have the layers, not the images, as their first dimension; time could not be folded
    into them.
    """


class LSTM(Recurrent, nn.LSTM):
    """Long short-term memory over a sequence that is complete at every timestep."""

    op_name = "lstm"

    def forward(self, input: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """[B, L, C] to [B, L, C']."""
        return super().forward(input)[0], None


class GRU(Recurrent, nn.GRU):
    """Gated recurrent units over such a sequence."""

    op_name = "gru"

    def forward(self, input: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """[B, L, C] to [B, L, C']."""
        return super().forward(input)[0], None


class RNN(Recurrent, nn.RNN):
    """Elman recurrence over such a sequence."""

    op_name = "rnn"

    def forward(self, input: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """[B, L, C] to [B, L, C']."""
        return super().forward(input)[0], None


OPENED: dict[type[nn.Module], Any] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}


def drop_states(module: nn.Module) -> None:
    """Let a batch-first recurrent layer return its output only, in place; others stay."""
    if type(module) in OPENED and module.batch_first:
        module.__class__ = OPENED[type(module)]
