"""Shape arithmetic in the model's code: followed where it can be, guarded where it decided."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert import ConversionError

FREE = {  # follow the input's size
    "view": lambda self, x: x.view(x.size(0), 4, -1).mean(-1),
    "shape": lambda self, x: x.reshape(x.shape[0], -1, x.shape[2] * x.shape[3]).sum(-1),
    "unpacked": lambda self, x: (lambda b, c, h, w: x.view(b, c, h * w).mean(2))(*x.shape),
    "size as a whole": lambda self, x: x.reshape(x.size()[:2] + (-1,)).mean(-1),
    "pool by size": lambda self, x: F.avg_pool2d(x, x.shape[-2:]).flatten(1),
    "interpolate": lambda self, x: F.interpolate(F.avg_pool2d(x, 2), size=x.shape[-2:]).mean(
        (2, 3)
    ),
    "scale by width": lambda self, x: x.sum((2, 3)) / (x.shape[-1] // 2),
    "ceil": lambda self, x: x.mean((2, 3)) * math.ceil(x.shape[-1] / 3),
    "grid": lambda self, x: x.mean(2) @ torch.arange(x.shape[-1], device=x.device).to(x.dtype),
    "batch of zeros": lambda self, x: torch.cat([x, x.new_ones(x.shape)], 1).mean((2, 3)),
    "zeros like": lambda self, x: (x + torch.ones_like(x)).mean((2, 3)),
    "one for all images": lambda self, x: (x * (2 * x.new_ones(1, 4, 1, 1))).mean((2, 3)),
    "expanded constant": lambda self, x: torch.cat(
        [x.flatten(1), self.token.expand(x.shape[0], -1)], 1
    )[:, -6:],
    "dtype": lambda self, x: (x * torch.ones(1, dtype=x.dtype, device=x.device)).mean((2, 3)),
    "checks": lambda self, x: x.mean((2, 3)) if x.ndim == 4 and x.shape[1] == 4 else None,
}
BAKED = {  # decide by it
    "if": lambda self, x: (x if x.shape[-1] > 9 else 2 * x).mean((2, 3)),
    "int": lambda self, x: x.mean((2, 3)) * int(x.shape[-1]),
    "range": lambda self, x: sum(x[:, :, i] for i in range(x.shape[2])).mean(-1),
    "float": lambda self, x: x.mean((2, 3)) * float(x.shape[-1]) ** 0.5,
    "assert": lambda self, x: torch._assert(x.shape[-1] == 8, "") or x.mean((2, 3)),
}


def model_of(code, written):
    model = written(lambda self, x: code(self, self.conv(x).relu()))
    model.token = nn.Parameter(torch.randn(1, 3))
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", FREE)
def test_other_resolutions_and_batch_sizes(name, written, images, converted):
    model = model_of(FREE[name], written)
    snn = converted(model, images)
    for x in (images[:1], images.repeat(2, 1, 1, 1)[:5], torch.randn(2, 3, 12, 6)):
        expected = model(x)
        assert torch.allclose(snn.analog(x), expected, atol=1e-5)
        snn.neurons["relu"].threshold.fill_(3.0)
        snn.neurons["relu"].v0.fill_(1.5)
        for chunk in (None, 1, 5):
            error = (snn(x, 64, chunk=chunk) - expected).abs().max()
            assert error < 0.05 * expected.abs().max() + 1e-3


@torch.no_grad()
@pytest.mark.parametrize("name", BAKED)
def test_a_decision_by_the_size_holds_for_that_size_only(name, written, images, converted):
    model = model_of(BAKED[name], written)
    snn = converted(nn.Sequential(model).eval(), images)
    for x in (images, images[:1], images.repeat(2, 1, 1, 1)):
        assert torch.allclose(snn.analog(x), model(x), atol=1e-5)
        assert (snn(x, 64) - model(x)).abs().max() < 0.05 * model(x).abs().max()
    other = torch.randn(2, 3, 10, 10)
    for run in (snn.analog, lambda x: snn(x, 4)):
        with pytest.raises(ConversionError, match="module '0' decides by the input's shape"):
            run(other)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 4, None])
def test_sizes_of_the_image_serve_what_changes_in_time(chunk, written, images, converted):
    def forward(self, x):
        batch, still = x.shape[0], self.conv(x)
        y = still.relu().reshape(batch, 2, -1)
        return y.mean(-1) + torch.zeros(still.size(0), 2)

    model = written(forward)
    snn = converted(model, images)
    assert (snn(images, 64, chunk=chunk) - model(images)).abs().max() < 0.05


@torch.no_grad()
@pytest.mark.parametrize("size", [len, lambda x: int(x.shape[0])])
def test_a_batch_size_that_became_a_number_is_refused(size, written, images, converted):
    model = written(lambda self, x: self.conv(x).relu().view(size(x), -1))
    with pytest.raises(ConversionError, match=r"write x.size\(0\) or -1"):
        converted(model, images)


@torch.no_grad()
@pytest.mark.parametrize("repeat", [1, 2])
def test_one_image_is_enough_to_convert(repeat, written, images, converted):
    model = written(lambda self, x: self.conv(x).relu())
    snn = converted(model, images[:repeat])
    assert (snn(images, 64) - model(images)).abs().max() < 0.3


CHANNELS_LAST = {
    "tokens": (lambda self, x: self.conv(x).flatten(2).transpose(1, 2).relu(), (-1, 4)),
    "linear": (lambda self, x: self.fc(self.conv(x).permute(0, 2, 3, 1)).relu(), (-1, 6)),
    "linear and back": (
        lambda self, x: self.fc(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu(),
        (1, 6),
    ),
    "swapped": (
        lambda self, x: self.fc(self.conv(x).swapaxes(1, -1)).swapaxes(1, -1).relu(),
        (1, 6),
    ),
    "plain": (lambda self, x: self.conv(x).relu(), (1, 4)),
    "flat": (lambda self, x: self.conv(x).mean((2, 3)).relu(), (1, 4)),
    "one value": (lambda self, x: self.conv(x).mean((1, 2, 3)).relu(), (1, 1)),
    "split": (lambda self, x: torch.cat([y.relu() for y in self.conv(x).chunk(2, 1)], 1), (1, 2)),
}


@torch.no_grad()
@pytest.mark.parametrize("name", CHANNELS_LAST)
def test_thresholds_lie_along_the_channels(name, written, images, converted):
    forward, expected = CHANNELS_LAST[name]
    model = written(forward, fc=nn.Linear(4, 6))
    snn = converted(model, images)
    neuron = next(n for name, n in snn.neurons.items() if name.startswith("relu"))
    assert (neuron.channel_dim, neuron.threshold.numel()) == expected
    other = torch.randn(2, 3, 12, 6)
    assert snn(other, 4).shape == model(other).shape
