"""Inputs that change in time: what they add up to, and that nothing else depends on them."""

import copy
import json
import zipfile

import pytest
import torch
from torch import nn

from spikeport.convert import ConversionError, Neuron, build
from spikeport.convert.saving.container import load, save
from spikeport.convert.simulation.encoded_network import as_presented
from spikeport.convert.simulation.input_encoding import EventFrames, Poisson, TimeToFirstSpike
from spikeport.cpu.loader import why_unavailable

BACKENDS = [
    "torch",
    pytest.param("cpu", marks=pytest.mark.skipif(bool(why_unavailable()), reason="no engine")),
]


class Net(nn.Module):
    """A residual network whose input also meets a pool, a sigmoid and an addition."""

    def __init__(self):
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.conv, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x):
        y = self.stem(x).relu()
        z = self.side(nn.functional.max_pool2d(x, 3, 1, 1)) * self.side(x).sigmoid()
        y = (self.conv(y) + y + z).relu()
        return self.head(y.mean((2, 3)))


def dyadic(network):
    """Weights and thresholds that are small multiples of 1/8, so that float sums are exact."""
    for parameter in network.parameters():
        parameter.data = torch.randint(-3, 4, parameter.shape) / 8
    for neuron in network.neurons.values():
        neuron.threshold.data.fill_(0.25)
        neuron.v0.data.fill_(0.125)
    return network


def exact(kind):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    return dyadic(build(net, torch.randn(2, 3, 6, 6), kind))


IMAGES = torch.randint(-8, 9, (3, 3, 6, 6), generator=torch.Generator().manual_seed(1)) / 8


def test_poisson_means_go_to_the_image():
    image = torch.rand(2, 3, 8, 8) * torch.tensor([1.0, 5.0]).view(2, 1, 1, 1) - 0.5
    errors = []
    for timesteps in (16, 256, 4096):
        spikes, events = Poisson(3).present(image).advance(timesteps)
        assert torch.equal(spikes, events)
        values = spikes.abs().flatten(2).amax(2).amax(0)
        assert torch.equal(values, image.abs().flatten(1).amax(1)), "one size of spike per image"
        errors.append(float((spikes.mean(0) - image).square().mean().sqrt()))
    assert errors[1] < errors[0] / 3  # 1/√T: to a quarter
    assert errors[2] < errors[1] / 3
    assert errors[2] < 0.04


def test_poisson_is_seeded_and_knows_no_chunks_or_batches():
    image = torch.randn(4, 3, 5, 5)
    whole = Poisson(7).present(image).advance(12)[0]
    assert not torch.equal(whole, Poisson(8).present(image).advance(12)[0])
    parts = Poisson(7).present(image)
    pieces = [parts.advance(5)[0]]
    parts.keep(torch.tensor([1, 3]))
    pieces.append(parts.advance(7)[0])
    assert torch.equal(pieces[0], whole[:5])
    assert torch.equal(pieces[1], whole[5:, [1, 3]])


def test_first_spikes_come_once_and_earlier_for_larger_values():
    image = torch.tensor([[0.0, 0.1, 0.5, -0.5, 1.0, -2.0]])
    currents, spikes = TimeToFirstSpike(8).present(image).advance(16)
    assert torch.equal(currents[:8].mean(0), torch.tensor([[0.0, 0.0, 0.5, -0.5, 1.0, -2.0]]))
    assert torch.equal(currents[8:], currents[:8])
    fired = (spikes[:8] != 0).squeeze(1)
    assert fired.sum(0).tolist() == [0, 0, 1, 1, 1, 1]
    assert fired[:, 2:].int().argmax(0).tolist() == [6, 6, 4, 0]
    assert spikes.abs().max() == 2.0


@pytest.mark.parametrize("layout", ["BT", "TB"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [Neuron(1, 0), Neuron(1, 1), Neuron(4, 4)], ids=str)
def test_frames_that_never_change_are_a_constant_current(kind, backend, layout):
    snn = exact(kind)
    snn.backend = backend
    constant = snn.anytime(IMAGES, 11)
    snn.encoding = EventFrames(layout=layout)
    frames = IMAGES.expand(11, -1, -1, -1, -1)
    frames = frames.transpose(0, 1) if layout == "BT" else frames
    assert torch.equal(snn.anytime(frames, 11), constant)
    assert torch.equal(snn(frames, 11, chunk=3), constant[-1])


@pytest.mark.parametrize("encoding", ["poisson", "ttfs", "frames"])
def test_neither_chunks_nor_the_backend_matter(encoding):
    snn = exact(Neuron(2, 2))
    snn.encoding = encoding
    x = IMAGES
    if encoding == "frames":
        x = torch.randint(-8, 9, (len(IMAGES), 16, *IMAGES.shape[1:])) / 8
    assert float(IMAGES.abs().amax((1, 2, 3)).min()) == 1  # the value of an input's spike
    snn.backend = "torch"
    expected = snn(x, 16)
    assert torch.equal(snn(x, 16, chunk=3), expected)
    assert torch.equal(snn.anytime(x, 16)[-1], expected)
    snn.encoding = "constant"
    assert not torch.equal(snn(x[:, 0] if encoding == "frames" else x, 16), expected)
    if why_unavailable():
        return
    snn.encoding, snn.backend = encoding, "cpu"
    assert torch.equal(snn(x, 16), expected)
    assert torch.equal(snn(x, 16, chunk=5), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("encoding", ["poisson", "ttfs", "frames"])
def test_more_timesteps_come_nearer_to_the_source(encoding, backend, calibrate):
    net, x = Net().eval(), torch.randn(4, 3, 8, 8)
    snn = calibrate(build(net, x, Neuron(8, 8)), x)
    for neuron in snn.neurons.values():
        neuron.threshold.data.mul_(2)  # room above the largest value for what comes all at once
    snn.backend, snn.encoding = backend, TimeToFirstSpike(32) if encoding == "ttfs" else encoding
    errors = []
    with torch.no_grad():
        for timesteps in (32, 512):
            frames = x + torch.randn(timesteps, *x.shape)
            given = (frames - frames.mean(0) + x).transpose(0, 1) if encoding == "frames" else x
            errors.append(float((snn(given, timesteps) - net(x)).abs().mean()))
        assert errors[1] < max(errors[0] / 2, 0.02)
        assert errors[1] < 0.1 * float(net(x).std())


def roles_of(network):
    return {
        str(node.target) if node.op == "call_module" else node.name: node.meta["role"]
        for node in network.graph.nodes
    }


def test_a_static_branch_gets_the_roles_that_it_needs():
    snn = build(Net().eval(), torch.randn(2, 3, 8, 8), Neuron(1, 1))
    roles = roles_of(snn)
    snn.encoding = "poisson"
    view = as_presented(snn)
    changed = roles_of(view)
    assert roles["sigmoid"] == roles["mul"] == roles["max_pool2d"] == "static"
    assert changed["sigmoid"] == changed["mul"] == changed["max_pool2d"] == "difference"
    assert changed["stem"] == "weighted"
    assert roles == roles_of(snn)
    assert as_presented(snn) is view
    assert view.stem is snn.stem


def test_hooks_changed_weights_and_copies_are_followed():
    snn = exact(Neuron(1, 1))
    snn.encoding = Poisson(1)
    before = snn(IMAGES, 8)
    with torch.no_grad():
        snn.get_submodule("5").bias.add_(1)
    assert torch.equal(snn(IMAGES, 8), before + 1)
    other = copy.deepcopy(snn)
    other.encoding = "constant"
    assert torch.equal(snn(IMAGES, 8), before + 1)
    assert not torch.equal(other(IMAGES, 8), before + 1)


def test_analog_layers_depend_on_the_encoding():
    snn = exact(Neuron(1, 1))
    assert snn.analog_layers() == []
    snn.encoding = EventFrames()
    assert snn.analog_layers() == ["0"]
    snn.encoding = EventFrames(unit=0.125)
    assert snn.analog_layers() == []


@pytest.mark.parametrize("encoding", [Poisson(5), TimeToFirstSpike(4), EventFrames(0.5)], ids=str)
def test_saved_with_the_network(encoding, tmp_path):
    snn = exact(Neuron(1, 1))
    snn.encoding = encoding
    save(snn, tmp_path / "net.snn")
    assert load(tmp_path / "net.snn").encoding == encoding


def test_what_does_not_suit_is_refused():
    snn = exact(Neuron(1, 0))
    with pytest.raises(ConversionError, match="expected one of"):
        snn.encoding = "rate"
    with pytest.raises(ConversionError, match="encoding = 'frames'"):
        snn(IMAGES[None], 1)
    snn.encoding = "frames"
    with pytest.raises(ConversionError, match=r"\[B, T, 3, 6, 6\]"):
        snn(IMAGES, 1)
    frames = IMAGES[:3, None].expand(-1, 4, -1, -1, -1)
    with pytest.raises(ConversionError, match="4 frames for 5 timesteps"):
        snn(frames, 5)
    with pytest.raises(ConversionError, match=r"3 frames for 4 .*EventFrames\(layout='TB'\)"):
        snn(frames.transpose(0, 1), 4)
    snn.encoding = EventFrames(layout="TB")
    with pytest.raises(ConversionError, match=r"3 frames for 4 .*EventFrames\(layout='BT'\)"):
        snn(frames, 4)
    snn.encoding = EventFrames(unit=1.0)
    with pytest.raises(ConversionError, match="no whole multiples of the unit 1"):
        snn(IMAGES[None], 1)
    snn.encoding = TimeToFirstSpike(4)
    with pytest.raises(ConversionError, match="layer '1' has IF .*needs neurons that take back"):
        snn(IMAGES, 8)
    snn = exact(Neuron(1, 1))
    snn.encoding = TimeToFirstSpike(4)
    with pytest.raises(ConversionError, match="multiples of 4"):
        snn(IMAGES, 6)
    for wrong in (
        lambda: Poisson(-1),
        lambda: TimeToFirstSpike(0),
        lambda: EventFrames(0.0),
        lambda: EventFrames(layout="B"),
    ):
        with pytest.raises(ConversionError, match="expected"):
            wrong()


def test_files_from_before_encodings_are_constant(tmp_path):
    snn = exact(Neuron(1, 1))
    save(snn, tmp_path / "net.snn")
    with zipfile.ZipFile(tmp_path / "net.snn") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(members["network.json"])
    del description["encoding"]
    members["network.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(tmp_path / "old.snn", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert torch.equal(load(tmp_path / "old.snn")(IMAGES, 3), snn(IMAGES, 3))
