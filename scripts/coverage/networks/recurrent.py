"""Networks with a memory of their own, on sequences [B, L, F] or [L, B, F]."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 5


class Last(nn.Module):
    """A linear layer, a recurrent layer, classes from its last state."""

    def __init__(self, layer: Any, **options: Any) -> None:
        super().__init__()
        self.start = nn.Linear(6, 8)
        self.memory = layer(8, 10, batch_first=True, **options)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.memory(F.relu(self.start(x)))
        state = state[0] if isinstance(state, tuple) else state
        return self.head(F.relu(state[-1]))


class Tagger(nn.Module):
    """A tag for every step, from both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(6, 8)
        self.memory = nn.LSTM(8, 8, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(F.relu(self.start(x)))[0])


class SequenceFirst(nn.Module):
    """A GRU that starts at a state of its own and takes the sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.memory = nn.Linear(6, 8), nn.GRU(8, 10)
        self.head = nn.Linear(10, CLASSES)
        self.state = nn.Parameter(torch.randn(1, 1, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.start(x)).transpose(0, 1)
        out, _ = self.memory(x, self.state.expand(-1, x.size(1), -1).contiguous())
        return self.head(out[-1])


class Cells(nn.Module):
    """A loop over the steps, written by hand."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.start, self.cell = nn.Linear(6, 8), cell(8, 10)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for step in F.relu(self.start(x)).unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class ConvLstm(nn.Module):
    """An LSTM whose gates are convolutions, on clips [B, frames, C, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.head = nn.Conv2d(3 + 4, 16, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, clip: Tensor) -> Tensor:
        hidden = clip.new_zeros(clip.shape[0], 4, *clip.shape[3:])
        cell = torch.zeros_like(hidden)
        for step in range(clip.shape[1]):
            both = self.gates(torch.cat((clip[:, step], hidden), 1))
            enter, forget, leave, value = both.chunk(4, 1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * value.tanh()
            hidden = leave.sigmoid() * cell.tanh()
        return self.head(F.relu(hidden))


class Echo(nn.Module):
    """An Elman network by hand whose units are ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(6, 12), nn.Linear(12, 12, bias=False)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.zeros(x.shape[0], 12, device=x.device)
        for step in range(x.shape[1]):
            hidden = F.relu(self.enter(x[:, step]) + 0.3 * self.again(hidden))
        return self.head(hidden)


def _steps(model: nn.Module) -> tuple[nn.Module, Tensor]:
    return model, torch.randn(3, 7, 6)


NETWORKS = {
    "LSTM, last state": lambda: _steps(Last(nn.LSTM)),
    "GRU, two layers, last state": lambda: _steps(Last(nn.GRU, num_layers=2)),
    "RNN of ReLUs, last state": lambda: _steps(Last(nn.RNN, nonlinearity="relu")),
    "LSTM both ways, a tag for every step": lambda: _steps(Tagger()),
    "GRU, sequence first, learned first state": lambda: _steps(SequenceFirst()),
    "LSTM cells in a loop": lambda: _steps(Cells(nn.LSTMCell)),
    "GRU cells in a loop": lambda: _steps(Cells(nn.GRUCell)),
    "Elman network of ReLUs by hand": lambda: _steps(Echo()),
    "ConvLSTM": lambda: (ConvLstm(), torch.randn(3, 4, 3, 8, 8)),
}
