"""Networks of torch.ao.quantization: fake quantised ones convert, others are refused by name."""

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

from spikeport.convert import KINDS, ConversionError, build

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.ao is deprecated, and says so


class Network(nn.Module):
    """With a residual sum, as torch's tutorials write one."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv1, self.bn1, self.act1 = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )
        self.conv2, self.act2 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.add, self.fc = torch.ao.nn.quantized.FloatFunctional(), nn.Linear(6, 4)

    def forward(self, x):
        x = self.act1(self.bn1(self.conv1(self.quant(x))))
        x = self.act2(self.add.add(self.conv2(x), x))
        return self.dequant(self.fc(x.mean((2, 3))))


def fed(network):
    for _ in range(3):
        network(torch.randn(4, 3, 8, 8))
    return network


def prepared(backend="fbgemm", fuse=True, observing=False):
    network = fed(Network().train())
    if fuse:
        network = ao.fuse_modules_qat(network, [["conv1", "bn1", "act1"]])
    network.qconfig = ao.get_default_qat_qconfig(backend)
    fed(ao.prepare_qat(network.train(), inplace=True))
    if not observing:
        network.apply(ao.disable_observer)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("backend", ["fbgemm", "qnnpack"])
@pytest.mark.parametrize("fuse", [False, True])
def test_every_fake_quantized_activation_is_a_neuron(backend, fuse):
    torch.manual_seed(0)
    network, x = prepared(backend, fuse), torch.randn(4, 3, 8, 8)
    snn = build(network, x, KINDS["multi-level"])
    assert torch.allclose(snn.analog(x), network(x), atol=1e-4)
    levels = {
        round(float((n.high - n.low) / n.step.max()))
        for n in snn.neurons.values()
        if n.step.numel()
    }
    most = {"fbgemm": 127, "qnnpack": 255}[backend]
    assert most in levels
    assert max(levels) == most


@torch.no_grad()
@pytest.mark.parametrize(
    "observer", [ao.MovingAverageMinMaxObserver, ao.MovingAveragePerChannelMinMaxObserver]
)
def test_a_module_of_its_own(observer):
    torch.manual_seed(0)
    more = (
        {"ch_axis": 1, "qscheme": torch.per_channel_affine}
        if "Channel" in observer.__name__
        else {}
    )
    fake = ao.FakeQuantize(observer, 0, 15, dtype=torch.quint8, **more)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), fake, nn.Conv2d(6, 4, 3))
    fed(network).apply(ao.disable_observer)
    network, x = network.eval(), torch.randn(4, 3, 8, 8)
    snn = build(network, x, KINDS["signed"])
    (neuron,) = snn.neurons.values()
    assert torch.allclose(snn.analog(x), network(x), atol=1e-5)
    assert neuron.step.numel() == 6
    assert round(float(neuron.high / neuron.step.max())) == 15


def with_observers():
    network = Network().eval()
    network.qconfig = ao.get_default_qconfig("fbgemm")
    return fed(ao.prepare(network))


CASES = {
    "disable_observer": lambda: prepared(observing=True),
    "before torch.ao.quantization.prepare": with_observers,
    "integer kernels": lambda: ao.convert(with_observers()),
}


@pytest.mark.parametrize("message", CASES)
def test_what_is_not_fake_quantized_is_refused_by_name(message):
    with pytest.raises(ConversionError, match=message) as caught:
        build(CASES[message](), torch.randn(4, 3, 8, 8), KINDS["signed"])
    assert "module 'quant" in str(caught.value)
