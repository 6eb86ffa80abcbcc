"""Answers at some T from one run, and what is counted on the way, on both backends."""

import pytest
import torch
from torch import nn

from spikeport.convert import ConversionError
from spikeport.convert.simulation.readout import Readout
from spikeport.cpu.loader import why_unavailable

BACKENDS = ["torch", *(["cpu"] if why_unavailable() is None else [])]


def classifier(self, x):
    x = self.pool(self.conv(x).relu())
    x = self.conv2(x).clamp(0, 6)
    return self.head(x.mean((2, 3)))


def with_sizes(self, x):
    y = self.conv(x).relu()
    y = self.conv2(y).relu()
    return self.head(y.mean((2, 3)).view(y.size(0), -1)).unsqueeze(-1) + 1.0


def from_further_up(self, x):
    early = self.conv(x).relu()
    late = self.conv2(self.pool(early)).relu()
    return nn.functional.interpolate(self.one(late), size=early.shape[2:])


def several(self, x):
    y = self.conv(x).relu()
    z = self.conv2(y).relu()
    return {"sum": self.one(y) + self.one(z), "gate": torch.sigmoid(self.one(z)), "none": None}


MODELS = {
    "classifier": classifier,
    "sizes": with_sizes,
    "size from further up": from_further_up,
    "several outputs": several,
}


@pytest.fixture
def network(written, converted, images):
    def make(name, kind="multi-level"):
        layers = {"pool": nn.MaxPool2d(2), "head": nn.Linear(4, 5)}
        return converted(written(MODELS[name], one=nn.Conv2d(4, 1, 1), **layers), images, kind)

    return make


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chunk", [None, 1, 5])
def test_readouts_are_those_of_anytime(name, chunk, backend, network, images):
    snn = network(name)
    snn.backend = backend
    with torch.no_grad():
        steps = snn.anytime(images, 13, chunk)
        found = list(snn.readouts(images, [1, 2, 7, 13], chunk))
    assert [time for time, _ in found] == [1, 2, 7, 13]
    for time, output in found:
        if name != "several outputs":
            assert torch.allclose(output, steps[time - 1], atol=1e-5)
            continue
        assert list(output) == list(steps)
        assert output["none"] is None
        for key in ("sum", "gate"):
            assert torch.allclose(output[key], steps[key][time - 1], atol=1e-5)


def test_the_last_layers_run_once_for_each_answer(network, images):
    snn = network("classifier")
    sizes = []
    snn.head.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    list(snn.readouts(images, [4, 8, 20], chunk=3))
    assert sizes == [3, 3, 3]
    snn(images, 20)
    assert sizes == [3, 3, 3, 3]


def test_what_waits(network):
    waiting = {name: len(Readout(network(name).graph).inside) for name in MODELS}
    assert waiting["classifier"] == 2
    assert waiting["sizes"] == 6
    assert waiting["size from further up"] == 0
    assert waiting["several outputs"] >= 2


@torch.no_grad()
@pytest.mark.parametrize("kind", ["if", "burst", "signed", "multi-level"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_counts_are_those_of_the_values(kind, backend, network, images):
    snn = network("classifier", kind)
    snn.backend = backend
    seen = set()

    def watch(name, emitted):
        seen.add(name)
        neurons = snn.neurons  # a max-pool's spikes are those of the first
        theta = neurons.get(name, next(iter(neurons.values()))).threshold
        n = (emitted.values() / theta.view(-1, 1, 1)).round().abs()
        quantum = theta.view(-1, 1, 1).expand(n.shape[2:])
        for begin, end in ((0, None), (1, 2)):
            expected = n[begin:end].sum((0, 1))
            counts = emitted.counts(quantum, begin, end)
            assert torch.allclose(counts.double(), expected.double())
            fewer = emitted.counts(quantum, begin, end, by_channel=False)
            assert torch.allclose(fewer.double(), expected.sum(0).double())

    list(snn.readouts(images, [4, 8], 4, watch))
    assert len(seen) == 1 + len(snn.neurons)


@pytest.mark.parametrize("wanted", [[], [0, 1], [2, 1], [1, 1], [1.0]])
def test_unusable_times_are_refused(wanted, network, images):
    with pytest.raises(ConversionError, match="timesteps"):
        network("classifier").readouts(images, wanted)
