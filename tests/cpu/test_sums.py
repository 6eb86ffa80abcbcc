"""Spikes added up over time on the bit planes, against sums of floats."""

import pytest
import torch

from spikeport.cpu.loader import EngineError, paths, why_unavailable
from spikeport.cpu.streams import Levels, pack

PATHS = [] if why_unavailable() else paths()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("up", "down"), [(1, 0), (1, 1), (5, 0), (4, 4), (200, 200)])
@pytest.mark.parametrize("channels", [1, 63, 70, 130])
def test_sums_are_those_of_the_floats(path, up, down, channels):
    n = torch.randint(-down, up + 1, (9, 3, channels, 4, 5)).float()
    stream = pack(n, torch.ones(channels), Levels.of(up, down))
    for begin, end in ((0, None), (2, 7), (4, 4)):
        how = {"threads": 3, "path": path}
        part = n[begin:end]
        assert torch.equal(stream.sums(begin, end, **how), part.sum(0).int())
        assert torch.equal(stream.totals(begin, end, **how), part.abs().sum((0, 1)).int())
        assert torch.equal(stream.pixel_totals(begin, end, **how), part.abs().sum((0, 1, 2)).long())
    assert torch.equal(stream.counts()[:, 1], n.count_nonzero((1, 2, 3, 4)))
    assert stream.density == pytest.approx(float((n != 0).float().mean()), abs=1e-6)
    with pytest.raises(EngineError, match="of a chunk of 9"):
        stream.sums(3, 12)


def test_density_of_large_streams_is_sampled():
    n = (torch.rand(4, 8, 64, 64, 64) < 0.3).float()
    n[..., 32:] = 0  # half of every row: a sample of the same column would be wrong
    assert pack(n, torch.ones(64), Levels(1, False)).density == pytest.approx(0.15, rel=0.05)
