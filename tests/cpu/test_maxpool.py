"""Max pooling against its definition: the difference of the pooled running sums."""

import pytest
import torch
from torch.nn import functional as F

from spikeport.cpu.loader import EngineError, paths, why_unavailable
from spikeport.cpu.maxpool import max_pool
from spikeport.cpu.streams import Levels, pack
from spikeport.cpu.synapses import Geometry

PATHS = [] if why_unavailable() else paths()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("up", "down"), [(1, 0), (1, 1), (5, 0), (4, 4)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 2)]
)
def test_pooled_spikes_are_those_of_the_definition(
    path, up, down, kernel, stride, padding, dilation
):
    n = torch.randint(-down, up + 1, (9, 2, 70, 9, 8)).float()
    sums = n.cumsum(0)
    pooled = F.max_pool2d(sums.flatten(0, 1), kernel, stride, padding, dilation)
    pooled = pooled.unflatten(0, (9, 2))
    expected = torch.cat([pooled[:1], pooled.diff(dim=0)])
    where = Geometry((kernel,) * 2, (stride,) * 2, (padding,) * 2, (dilation,) * 2)
    counts, parts = None, []
    for low, high in ((0, 4), (4, 9)):
        stream = pack(n[low:high], torch.ones(70), Levels.of(up, down))
        out, counts = max_pool(stream, where, tuple(pooled.shape[3:]), counts, threads=3, path=path)
        parts.append(out.unpack(torch.ones(70)))
    assert torch.equal(torch.cat(parts), expected)


def test_windows_outside_the_image_are_refused():
    stream = pack(torch.ones(1, 1, 1, 4, 4), torch.ones(1), Levels(1, False))
    with pytest.raises(EngineError, match="outside"):
        max_pool(stream, Geometry((2, 2), (2, 2)), (3, 3))
    with pytest.raises(EngineError, match="padding"):
        max_pool(stream, Geometry((2, 2), (2, 2), (2, 2)), (3, 3))
