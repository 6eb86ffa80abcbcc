"""Other tools simulate the same network: same spikes, same output."""

import builtins

import pytest
import torch
from torch import nn

from spikeport.calibration import calibrate
from spikeport.convert import KINDS, ConversionError, build
from spikeport.scripts.cli import main
from spikeport.scripts.peers import PEERS, find
from spikeport.scripts.peers.folded import FoldedNetwork

TIMESTEPS = 11
MODES = [
    pytest.param("spikingjelly", 0, id="spikingjelly-multi-step"),
    pytest.param("spikingjelly", 1, id="spikingjelly-single-step"),
    pytest.param("sinabs", 0, id="sinabs"),
    pytest.param("spikingjelly-compiled", 0, id="spikingjelly-compiled", marks=pytest.mark.slow),
]


class Branches(nn.Module):
    """Residuals of spikes and of currents, groups, a stride, two kinds of average pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.down = nn.Conv2d(8, 12, 3, 2, 1)
        self.shortcut = nn.Conv2d(8, 12, 1, 2)
        self.pool = nn.AvgPool2d(2)
        self.hidden = nn.Linear(12 * 4, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.second(torch.relu(self.grouped(x))) + x)
        x = torch.relu(self.down(x) + self.shortcut(x))
        x = torch.relu(self.hidden(self.pool(x).flatten(1)))
        return self.head(x)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def converted(model, images, neuron="if"):
    network = build(model.eval(), images, KINDS[neuron])
    calibrate(network, [images], progress=False)
    for layer in network.neurons.values():  # thresholds as in no other channel, odd potentials
        layer.threshold.data *= torch.linspace(0.6, 1.4, layer.threshold.numel())
        layer.v0.data = layer.threshold * torch.linspace(0.1, 0.9, layer.threshold.numel())
    network.backend = "torch"
    return network


@pytest.fixture(scope="module")
def network(images):
    torch.manual_seed(0)
    return converted(Branches(), images)


def peer_named(name):
    pytest.importorskip(name.partition("-")[0])
    return find(name)


@pytest.mark.parametrize(("name", "mode"), MODES)
@pytest.mark.parametrize("chunk", [1, 4, TIMESTEPS])
def test_the_same_output_for_every_chunk(name, mode, chunk, network, images):
    peer = peer_named(name)
    used = peer.modes[mode]
    if chunk > (used.most_steps or chunk):
        pytest.skip("takes one timestep at a time")
    folded = FoldedNetwork(network, peer.time_first)
    folded.use(used.layer)
    expected = network(images, TIMESTEPS)
    found = folded.run(images, TIMESTEPS, chunk)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert torch.equal(folded.run(images, TIMESTEPS, chunk), found)  # no state is left over
    assert folded.differences == []


@pytest.mark.parametrize("name", ["spikingjelly", "sinabs"])
def test_the_same_spikes(name, network, images):
    peer = peer_named(name)
    folded = FoldedNetwork(network, peer.time_first)
    folded.use(peer.modes[0].layer)
    counts: dict[str, torch.Tensor] = {}
    for node, layer in list(folded.layers.items()):

        def counted(current, layer=layer, key=str(node.target)):
            spikes = layer(current)
            time_first = spikes if peer.time_first else spikes.transpose(0, 1)
            assert set(time_first.unique().tolist()) <= {0.0, 1.0}
            counts[key] = time_first
            return spikes

        counted.start = layer.start
        folded.layers[node] = counted
    folded.run(images, TIMESTEPS, TIMESTEPS)
    emitted = {}
    for _ in network.chunks(
        images, TIMESTEPS, TIMESTEPS, observe=lambda name, out, _: emitted.update({name: out})
    ):
        pass
    assert emitted.keys() == counts.keys() == network.neurons.keys()
    for key, out in emitted.items():
        assert torch.equal(out != 0, counts[key] != 0), key
        assert bool((out != 0).any()), key


@pytest.mark.parametrize("name", ["spikingjelly", "sinabs"])
def test_max_pooling_is_on_the_spikes_of_each_timestep(name, images):
    peer = peer_named(name)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 4)
    )
    network = converted(model, images)
    folded = FoldedNetwork(network, peer.time_first)
    folded.use(peer.modes[0].layer)
    emitted = []
    for _ in network.chunks(
        images, 7, 7, observe=lambda name, out, _: emitted.append(out) if name == "1" else None
    ):
        pass
    pooled = torch.nn.functional.max_pool2d(emitted[0].flatten(0, 1), 2).unflatten(0, (7, -1))
    expected = model[4](pooled.flatten(2)).mean(0)
    torch.testing.assert_close(folded.run(images, 7, 3), expected, rtol=1e-4, atol=1e-5)
    assert "1 max-pool(s)" in folded.differences[0]


def test_the_source_of_the_weights_is_left_alone(network, images):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    FoldedNetwork(network, True)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("model", "neuron", "message"),
    [
        (Branches(), "signed", "plain IF neurons only"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()),
            "if",
            "plain IF neurons only",
        ),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Softmax(1)), "if", "softmax"),
    ],
)
def test_what_peers_cannot_do_is_refused(model, neuron, message, images):
    network = converted(model, images, neuron)
    with pytest.raises(ConversionError, match=message):
        FoldedNetwork(network, True)


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_peer_names_the_extra(name, monkeypatch, capsys):
    module = f"spikeport.scripts.peers.{name.replace('-', '_')}"
    monkeypatch.delitem(__import__("sys").modules, module, raising=False)
    original = builtins.__import__

    def absent(wanted, *args, **kwargs):
        if wanted.partition(".")[0] in ("spikingjelly", "sinabs"):
            raise ModuleNotFoundError(f"No module named '{wanted}'")
        return original(wanted, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert main(["bench", "resnet10t", "--against", name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--against {name}" in error
    assert "spikeport[compare]" in error
