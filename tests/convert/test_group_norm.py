"""Group norms over single values, which torch refuses for a batch of one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F


@torch.no_grad()
@pytest.mark.parametrize("write", ["layer", "function"])
def test_one_value_in_each_group(write, written, images, converted):
    norm = nn.GroupNorm(4, 4)
    nn.init.normal_(norm.bias)

    def forward(self, x):
        x = self.conv(x).relu()
        squeezed = F.adaptive_avg_pool2d(x, 1)
        if write == "layer":
            gate = self.norm(squeezed)
        else:
            gate = F.group_norm(squeezed, 4, self.norm.weight, self.norm.bias)
        return self.conv2(x * gate.sigmoid())

    model = written(forward, norm=norm)
    snn = converted(model, images)
    assert torch.allclose(snn.analog(images), model(images), atol=1e-5)
    assert torch.allclose(snn.analog(images[:1]), model(images)[:1], atol=1e-5)
    assert torch.allclose(snn(images[:1], 4), snn(images, 4)[:1], atol=1e-5)
    assert type(model.norm) is nn.GroupNorm
