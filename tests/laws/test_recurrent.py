"""Every verb on networks around recurrent layers and cells, as people write them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from verbs import run_all

from spikeport.convert import ConversionError, build
from spikeport.convert.neurons import KINDS
from spikeport.zoo.pipeline import to_snn

H, LENGTH, FEATURES = 5, 4, 6
SLOW = ("cost", "inspect", "report", "encodings", "float64")


def hidden(state):
    """The hidden state: an LSTM's is the first of two."""
    return state[0] if isinstance(state, tuple) else state


class Around(nn.Module):
    """A linear layer and a ReLU before a recurrent layer, two linear layers after it."""

    def __init__(self, layer, read, outputs=H, front=True):
        super().__init__()
        self.front = nn.Linear(FEATURES, FEATURES) if front else None
        self.layer, self.read = layer, read
        self.initial, self.state = nn.Linear(FEATURES, H), nn.Parameter(torch.randn(1, 1, H))
        self.body, self.head = nn.Linear(outputs, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = x if self.front is None else self.front(x).relu()
        return self.head(self.body(self.read(self, h)).relu())

    def states(self, h):
        """As the layer takes them."""
        return (h, h) if isinstance(self.layer, (nn.LSTM, nn.LSTMCell)) else h


def output(net, x):
    return net.layer(x)[0][:, -1]


def last_hidden(net, x):
    return hidden(net.layer(x)[1])[-1]


def both_directions(net, x):
    h = hidden(net.layer(x)[1])
    return torch.cat((h[-2], h[-1]), 1)


def sequence_first(net, x):
    return net.layer(x.transpose(0, 1))[0][-1]


def from_zeros(net, x):
    return net.layer(x, net.states(torch.zeros(1, x.size(0), H, dtype=x.dtype)))[0][:, -1]


def from_learned(net, x):
    return net.layer(x, net.states(net.state.expand(-1, x.size(0), -1).contiguous()))[0][:, -1]


def from_data(net, x):
    return net.layer(x, net.states(net.initial(x.mean(1)).relu()[None]))[0][:, -1]


def part_by_part(net, x):
    first, state = net.layer(x[:, :2])
    return first.mean(1) + net.layer(x[:, 2:], state)[0][:, -1]


def cell_state(net, x):
    return net.layer(x)[1][1][-1]


def loop_of_cells(net, x):
    state = net.states(x.new_zeros(x.size(0), H))
    for step in range(x.size(1)):
        state = net.layer(x[:, step], state)
    return hidden(state)


def stacked_cells(net, x):
    state, outputs = None, []
    for step in x.unbind(1):
        state = net.layer(step, state)
        outputs.append(hidden(state))
    return torch.stack(outputs, 1).mean(1)


def elman_by_hand(net, x):
    h = torch.zeros(x.size(0), H, dtype=x.dtype)
    for step in range(x.size(1)):
        h = torch.tanh(net.layer(torch.cat((x[:, step], h), 1)))
    return h


def relu_by_hand(net, x):
    h = torch.zeros(x.size(0), H, dtype=x.dtype)
    for step in range(x.size(1)):
        h = F.relu(net.layer(torch.cat((x[:, step], h), 1)))
    return h


class OwnArguments(nn.GRU):
    """A layer whose class changes no computation."""

    def __init__(self):
        super().__init__(FEATURES, H, batch_first=True)


KINDS_OF_LAYERS = (nn.LSTM, nn.GRU, nn.RNN)
NETWORKS = {
    f"{kind.__name__} {read.__name__}": lambda kind=kind, read=read, more=more: Around(
        kind(FEATURES, H, **more), read, 2 * H if more.get("bidirectional") else H
    )
    for kind in KINDS_OF_LAYERS
    for read, more in (
        (last_hidden, {"batch_first": True, "bias": False}),
        (both_directions, {"batch_first": True, "num_layers": 2, "bidirectional": True}),
        (sequence_first, {"num_layers": 2}),
        (from_zeros, {"batch_first": True}),
        (from_learned, {"batch_first": True}),
        (from_data, {"batch_first": True}),
        (part_by_part, {"batch_first": True}),
    )
}
NETWORKS |= {
    f"{kind.__name__} {read.__name__}": lambda kind=kind, read=read: Around(
        kind(FEATURES, H, bias=read is loop_of_cells), read
    )
    for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    for read in (loop_of_cells, stacked_cells)
}
NETWORKS |= {
    "projected": lambda: Around(nn.LSTM(FEATURES, 7, batch_first=True, proj_size=H), last_hidden),
    "cell state": lambda: Around(nn.LSTM(FEATURES, H, batch_first=True), cell_state),
    "rectified": lambda: Around(nn.RNN(FEATURES, H, batch_first=True, nonlinearity="relu"), output),
    "of the input": lambda: Around(
        nn.LSTM(FEATURES, H, batch_first=True), last_hidden, front=False
    ),
    "derived": lambda: Around(OwnArguments(), last_hidden),
    "by hand": lambda: Around(nn.Linear(FEATURES + H, H), elman_by_hand),
    "rectified by hand": lambda: Around(nn.Linear(FEATURES + H, H), relu_by_hand),
}
FAST = [name for name in NETWORKS if not name.startswith(("RNN", "GRUCell"))]


def run(name, skip):
    torch.manual_seed(0)
    model, x = NETWORKS[name]().eval(), torch.randn(3, LENGTH, FEATURES)
    run_all(to_snn(model, [x], neuron="multi-level", progress=False), model, x, skip=skip)


@pytest.mark.filterwarnings("ignore:.*never fires", "ignore:LSTM with projections")
@pytest.mark.parametrize("name", FAST)
def test_every_verb_holds(name):
    run(name, SLOW)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*never fires", "ignore:LSTM with projections")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_slow_verb_holds_too(name):
    run(name, ())


def packed(net, x):
    lengths = torch.full((3,), LENGTH)
    return net.layer(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))[1][-1]


class OwnForward(nn.GRU):
    """A layer whose class calls torch's."""

    def forward(self, x):
        return super().forward(x)[0]


def without_batch(net, x):
    return net.layer(x[:, 0])[0]


@pytest.mark.parametrize(
    ("layer", "read", "message"),
    [
        (nn.GRU(FEATURES, H, batch_first=True), packed, "pack_padded_sequence"),
        (nn.GRU(FEATURES, H, batch_first=True), without_batch, r"\[2, 6\]; expected a batch of"),
        (OwnForward(FEATURES, H, batch_first=True), lambda net, x: net.layer(x)[:, -1], "'layer'"),
    ],
)
def test_what_has_no_form_is_refused_by_name(layer, read, message):
    with pytest.raises(ConversionError, match=message):
        build(Around(layer, read).eval(), torch.randn(3, LENGTH, FEATURES), KINDS["signed"])


def test_the_source_keeps_its_layers():
    layer = nn.LSTM(FEATURES, H)
    build(Around(layer, sequence_first).eval(), torch.randn(3, LENGTH, FEATURES), KINDS["if"])
    assert type(layer) is nn.LSTM
    assert not layer.batch_first
