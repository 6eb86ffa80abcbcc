"""Fan-outs against a count by brute force: one spike at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert import Neuron, build
from spikeport.report.operations.synapses import count_synapses


def converted(net, *shape, neuron=None):
    torch.manual_seed(0)
    snn = build(net.eval(), torch.randn(2, *shape), neuron or Neuron(1, 1))
    for layer in snn.neurons.values():
        layer.threshold.data.fill_(1.0)
    return snn


def touched(operation, source):
    """Accumulates of each spike: outputs × weights it meets, counted one spike at a time."""
    count = torch.zeros(source)
    for index in range(count.numel()):
        spike = torch.zeros(1, *source)
        spike.view(-1)[index] = 1
        count.view(-1)[index] = operation(spike)
    return count


CONVOLUTIONS = [
    nn.Conv2d(4, 6, 3),
    nn.Conv2d(4, 6, 3, padding=1),
    nn.Conv2d(4, 6, 3, stride=2, padding=1),
    nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2),
    nn.Conv2d(4, 6, 1, stride=2),
    nn.Conv2d(4, 6, (1, 3), padding=(0, 1)),
    nn.Conv2d(4, 8, 3, padding=1, groups=2),
    nn.Conv2d(4, 4, 3, padding=1, groups=4),
    nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1),
]


@pytest.mark.parametrize("conv", CONVOLUTIONS, ids=str)
def test_fanout_of_a_convolution(conv):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), conv)
    synapses = count_synapses(converted(net, 3, 7, 6), (3, 7, 6))
    per_group = nn.utils.skip_init(
        type(conv),
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        groups=conv.groups,
        dilation=conv.dilation,
        bias=False,
        padding_mode=conv.padding_mode,
    )
    per_group.weight.data.fill_(1.0)
    with torch.no_grad():
        expected = touched(lambda spike: per_group(spike).sum(), (4, 7, 6))
    assert torch.equal(synapses.fanout["1"]["2"].float(), expected)


def test_dense_count_is_fvcore_style_without_the_padding():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 10))
    synapses = count_synapses(converted(net, 3, 6, 6), (3, 6, 6))
    assert synapses.macs_once == {"0": 4 * 4 * 4 * 3 * 9}
    assert synapses.source_macs == 4 * 4 * 4 * 3 * 9 + 64 * 10
    assert synapses.neurons == 64
    assert torch.equal(synapses.total_fanout("1"), torch.full((4, 4, 4), 10.0).double())


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d(3),
    ],
    ids=str,
)
def test_average_pooling_is_part_of_the_synapse(pool):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(5))
    net(torch.zeros(1, 3, 8, 8))
    synapses = count_synapses(converted(net, 3, 8, 8), (3, 8, 8))

    def windows(spike):
        return (pool(spike) > 0).sum() * 5

    assert torch.equal(synapses.fanout["1"]["4"].float(), touched(windows, (4, 8, 8)))


class Branches(nn.Module):
    """Residual add, concatenation, max-pool, a mean, and two readers of one source."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.left = nn.Conv2d(4, 4, 3, padding=1)
        self.right = nn.Conv2d(4, 4, 1)
        self.join = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        left = F.relu(self.left(x) + x)
        right = F.max_pool2d(F.relu(self.right(x)), 3, 1, 1)
        return self.head(F.relu(self.join(torch.cat([left, right], 1))).mean((2, 3)))


def test_branches_by_layer():
    snn = converted(Branches(), 3, 5, 5)
    synapses = count_synapses(snn, (3, 5, 5))
    assert synapses.fanout["relu"].keys() == {"left", "right"}
    assert float(synapses.fanout["relu"]["right"].sum()) == 4 * 25 * 4
    assert synapses.fanout["relu#1"].keys() == {"join"}
    assert synapses.fanout["relu#2"] == {}, "a pooled neuron reaches no synapse itself"
    pooled = next(name for name in synapses.fanout if name not in snn.neurons)
    assert torch.equal(synapses.total_fanout(pooled), torch.full((4, 5, 5), 6.0).double())
    assert torch.equal(synapses.total_fanout("relu#3"), torch.full((6, 5, 5), 5.0).double())
    assert synapses.macs_per_timestep == {}


def test_analog_bottlenecks_cost_macs_every_timestep():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1))
    snn = build(net.eval(), torch.randn(2, 3, 5, 5), Neuron(1, 1), analog_bottlenecks=True)
    for layer in snn.neurons.values():
        layer.threshold.data.fill_(1.0)
    synapses = count_synapses(snn, (3, 5, 5))
    assert synapses.macs_per_timestep == {"3": 25 * 2 * 4}
    assert snn.analog_layers() == ["3"]


def test_a_spike_of_a_max_pool_is_worth_its_channels_threshold():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1))
    snn = converted(net, 3, 4, 4)
    snn.neurons["1"].threshold.data.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    synapses = count_synapses(snn, (3, 4, 4))
    (pooled,) = set(synapses.quantum) - set(snn.neurons)
    assert synapses.quantum[pooled][:, 0, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
