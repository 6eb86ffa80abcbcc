"""Max pooling against its definition: the difference of the pooled running sums."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from spikeport.cpu.loader import Unsuited, check, library, paths, why_unavailable
from spikeport.cpu.maxpool import max_pool
from spikeport.cpu.streams import Levels, Stream, pack
from spikeport.cpu.structs import MaxPoolStruct
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


SIDE = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3))


@settings(max_examples=150)
@given(st.tuples(SIDE, SIDE), st.tuples(st.integers(1, 7), st.integers(1, 9)), st.booleans())
def test_any_windows_on_any_map(sides, size, ceil):
    """As torch pools, or refused where a window has no pixel; torch returns -inf there."""
    kernel, stride, padding, dilation = zip(*sides, strict=True)
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    generator = torch.Generator().manual_seed(sum(map(sum, sides)))
    n = torch.randint(-3, 4, (4, 2, 5, *size), generator=generator).float()
    sums = n.cumsum(0).flatten(0, 1)
    try:
        pooled = F.max_pool2d(sums, kernel, stride, padding, dilation, ceil)
    except RuntimeError:  # the windows are larger than the map
        return
    stream = pack(n, torch.ones(5), Levels.of(3, 3))
    where, expected = Geometry(kernel, stride, padding, dilation), pooled.unflatten(0, (4, 2))
    for path in PATHS:
        if bool(pooled.isinf().any()):
            with pytest.raises(Unsuited, match="no pixel"):
                max_pool(stream, where, tuple(pooled.shape[2:]), path=path)
            continue
        out, _ = max_pool(stream, where, tuple(pooled.shape[2:]), path=path)
        assert torch.equal(out.unpack(torch.ones(5)).cumsum(0), expected)


@pytest.mark.parametrize("path", PATHS)
def test_windows_without_pixels_are_silent(path):
    """Called past the check, C code still writes what it was given, not what was in memory."""
    stream = pack(torch.ones(6, 2, 5, 4, 1), torch.ones(5), Levels.of(3, 3))
    counts = torch.zeros(2, 4, 1, 64, dtype=torch.int32)
    for _ in range(20):
        out = Stream.empty(2, 3, 2, 6, 5, stream.levels)
        sizes = (
            2,
            3,
            2,
            2,
            2,
            2,
            2,
            1,
            1,
            2,
            2,
        )  # batch, output, kernel, stride, padding, dilation
        pool = MaxPoolStruct(stream.struct(), *sizes, counts.data_ptr(), out.bits.data_ptr())
        check(library().sp_run_maxpool(pool, path.encode(), 1))
        assert not bool(out.bits.any())
        counts.zero_()


def test_windows_outside_the_image_are_refused():
    stream = pack(torch.ones(1, 1, 1, 4, 4), torch.ones(1), Levels(1, False))
    with pytest.raises(Unsuited, match="no pixel"):
        max_pool(stream, Geometry((2, 2), (2, 2)), (3, 3))
    with pytest.raises(Unsuited, match="no pixel"):
        max_pool(stream, Geometry((2, 2), (2, 2), (2, 2)), (3, 3))
