"""The default recipe that is told no T: good at few timesteps, and right with many."""

import math

import pytest
import torch
from torch import Tensor, nn

from spikeport.calibration import ReachThreshold, calibrate
from spikeport.calibration.statistics import ChannelHistogram
from spikeport.convert import KINDS, SpikingNetwork, build

SHORT = (8, 16, 32, 64)


def random_mlp() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(8):
        layers += [nn.Linear(24, 24), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)
        nn.init.normal_(layers[-2].bias, 0, 0.5)
    return nn.Sequential(*layers, nn.Linear(24, 5))


def random_convolutions(activation: type[nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for before in (3, 8, 8, 8):
        layers += [nn.Conv2d(before, 8, 3, padding=1), activation()]
        nn.init.kaiming_normal_(layers[-2].weight)
        nn.init.normal_(layers[-2].bias, 0, 0.3)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))


def wanted(x: Tensor) -> Tensor:
    """A function to learn, [B, 24] to [B, 2]."""
    return torch.stack([(x[:, 0] * x[:, 1]).sin() + x[:, 2], x[:, 3:6].norm(dim=1)], 1)


def trained() -> nn.Module:
    net = nn.Sequential(
        nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2)
    )
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(200):
        x = torch.randn(128, 24)
        loss = (net(x) - wanted(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


NETWORKS = {
    "random mlp": (random_mlp, (24,)),
    "random convolutions": (lambda: random_convolutions(nn.ReLU), (3, 6, 6)),
    "random ReLU6": (lambda: random_convolutions(nn.ReLU6), (3, 6, 6)),
    "trained regression": (trained, (24,)),
}


@pytest.fixture(params=NETWORKS, scope="module")
def case(request):
    torch.manual_seed(0)
    make, shape = NETWORKS[request.param]
    net = make().eval()
    torch.manual_seed(1)
    return net, [torch.randn(32, *shape) for _ in range(4)], torch.randn(64, *shape)


@torch.no_grad()
def errors(snn: SpikingNetwork, images: Tensor, timesteps: tuple[int, ...]) -> list[float]:
    """The relative error of the output after each T."""
    source = snn.analog(images)
    found = snn.readouts(images, timesteps)
    return [float((output - source).norm() / source.norm()) for _, output in found]


@torch.no_grad()
def angles(snn: SpikingNetwork, images: Tensor, timesteps: tuple[int, ...]) -> list[float]:
    """1 − cos of the output after each T, which does not see a common factor of all scores."""
    source = snn.analog(images)
    found = snn.readouts(images, timesteps)
    return [float(1 - torch.cosine_similarity(output, source, 1).mean()) for _, output in found]


def calibrated(net, data, neuron, recipe, task=None) -> SpikingNetwork:
    snn = build(net, data[0], KINDS[neuron])
    calibrate(snn, data, recipe, progress=False, task=task)
    return snn


def deep_bottlenecks() -> nn.Module:
    """Twelve inverted residuals with ReLU6, 36 neuron layers, through which spikes come late."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, stride=2),
        *(InvertedResidual(6) for _ in range(12)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


class InvertedResidual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, wide, 1), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, wide, 3, 1, 1, groups=wide), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, channels, 1), nn.BatchNorm2d(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def with_statistics(net: nn.Module, images: Tensor) -> nn.Module:
    """The network in eval mode, its batch norms as these images make them, with biases."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0, 0.5)
            module.momentum = None
    with torch.no_grad():
        net.train()(images)
    return net.eval()


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_the_scores_of_a_deep_network_are_nearer_than_with_fast(neuron):
    ratios = []
    for seed in range(2):
        torch.manual_seed(seed)
        data = [torch.randn(12, 3, 8, 8) for _ in range(2)]
        net = with_statistics(deep_bottlenecks(), torch.cat(data))
        images = torch.randn(16, 3, 8, 8)
        ours = angles(calibrated(net, data, neuron, "default", "classification"), images, SHORT)
        fast = angles(calibrated(net, data, neuron, "fast"), images, SHORT)
        ratios += [math.log(one / other) for one, other in zip(ours, fast, strict=True)]
    assert sum(ratios) < 0


def test_class_scores_are_calibrated_as_by_fast(case):
    net, data, _ = case
    ours = calibrated(net, data, "signed", "default", "classification")
    assert ours.info["passes"] == calibrated(net, data, "signed", "fast").info["passes"]


def test_values_pay_little_at_few_timesteps(case):
    net, data, images = case
    ours = errors(calibrated(net, data, "signed", "default", "values"), images, SHORT)
    fast = errors(calibrated(net, data, "signed", "fast"), images, SHORT)
    ratios = [math.log(one / other) for one, other in zip(ours, fast, strict=True)]
    assert max(ratios) < math.log(1.5)  # coarser steps
    assert ratios[-1] < math.log(1.05)  # which clipping has outweighed by then


@pytest.mark.parametrize("neuron", ["if", "signed", "multi-level"])
def test_values_are_converged_to(case, neuron):
    net, data, images = case
    snn, images = calibrated(net, data, neuron, "default"), images[:24]
    few, more, many = errors(snn, data[0][:24], (64, 256, 1024))
    assert many < 0.01
    assert many < more / 2.5 < few / 4  # like 1/T, no floor
    [unseen] = errors(snn, images, (1024,))
    [fast] = errors(calibrated(net, data, neuron, "fast"), images, (1024,))
    assert unseen < max(0.7 * fast, 0.01)


def test_it_is_calibrated_for_no_t(case):
    net, data, _ = case
    assert calibrated(net, data, "signed", "default").info["calibrated_for_timesteps"] is None


def test_the_reach_is_above_the_largest_by_the_length_of_the_tail():
    values = torch.distributions.Exponential(1.0).sample((20000,))
    tail, uniform = ChannelHistogram(1), ChannelHistogram(1)
    tail.add(values[None])
    uniform.add(torch.rand(1, 20000))
    reach = float(ReachThreshold().relu_range(tail, None))
    tenth = float(values.sort(descending=True).values[9])
    assert reach == pytest.approx(2 * float(values.max()) - tenth, rel=1e-2)
    assert 1 < float(ReachThreshold().relu_range(uniform, None)) < 1.005  # no tail, no room


def test_a_channel_of_few_values_gets_the_room_of_others():
    few = ChannelHistogram(3)
    few.add(torch.tensor([[1.0, 0.5], [0.01, 0.0], [0.0, 0.0]]))
    assert ReachThreshold().relu_range(few, None).tolist() == pytest.approx([2, 0.02, 0], rel=0.01)
    few.add(torch.rand(3, 2000) * torch.tensor([1, 0, 0.5])[:, None])
    ranges = ReachThreshold().relu_range(few, None).tolist()
    assert ranges[1] == ranges[2] == pytest.approx(0.5, rel=0.02)
