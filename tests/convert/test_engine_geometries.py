"""Random windows of convolutions and pools on small maps: the engine gives what torch gives.

A network is traced on large images and run on small ones, down to a pixel, where windows lie in
the padding: what has no value there (a maximum of nothing) has none on any backend.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeport.convert import KINDS, ConversionError, build
from spikeport.cpu.loader import why_unavailable
from tests.convert.grid import on_grid, rounded

pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
GRID = 1 / 16
SETTINGS = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


def sides(draw: st.DrawFn, count: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(low, high)) for _ in range(count))


@st.composite
def convolutions(draw: st.DrawFn, channels: int, count: int) -> nn.Module:
    return {1: nn.Conv1d, 2: nn.Conv2d}[count](
        *(channels, channels, sides(draw, count, 1, 3)),
        stride=sides(draw, count, 1, 3),
        padding=sides(draw, count, 0, 3),
        dilation=sides(draw, count, 1, 3),
        groups=draw(st.sampled_from([1, 1, 2, channels])),
        padding_mode=draw(st.sampled_from(["zeros", "zeros", "zeros", "circular"])),
    )


@st.composite
def pools(draw: st.DrawFn, count: int) -> nn.Module:
    largest = draw(st.booleans())
    kernel = sides(draw, count, 1, 3 if largest else 2)  # means of three are not on the grid
    stride = sides(draw, count, 1, 3)
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    ceil = draw(st.booleans())
    if largest:
        pool = {1: nn.MaxPool1d, 2: nn.MaxPool2d}[count]
        return pool(kernel, stride, padding, sides(draw, count, 1, 3), ceil_mode=ceil)
    pool = {1: nn.AvgPool1d, 2: nn.AvgPool2d}[count]
    return pool(kernel, stride, padding, ceil, draw(st.booleans()))


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, int]:
    """A network of images or sequences, and the number of sides that those have."""
    torch.manual_seed(draw(st.integers(0, 2**20)))
    channels, count = draw(st.sampled_from([2, 4, 66])), draw(st.sampled_from([2, 2, 1]))
    convolution = {1: nn.Conv1d, 2: nn.Conv2d}[count]
    layers: list[nn.Module] = [convolution(2, channels, 1), nn.ReLU()]
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            layers.append(draw(pools(count)))
        layers += [draw(convolutions(channels, count)), nn.ReLU()]
        if draw(st.booleans()):
            layers.append(draw(pools(count)))
    layers += [convolution(channels, 3, 1), nn.ReLU(), nn.Flatten(2)]
    return nn.Sequential(*layers).eval(), count


def outcome(snn, x: Tensor, backend: str) -> Tensor | str:
    """What the network returns at every timestep, or that it cannot."""
    snn.backend = backend
    try:
        return torch.cat(list(snn.chunks(x, 7, 3)))
    except RuntimeError:
        return "refused"


def require_same(model: nn.Module, shapes: list[tuple[int, ...]]) -> None:
    try:
        snn = build(model, torch.randn(3, 2, *[40] * len(shapes[0])), KINDS["multi-level"])
    except ConversionError:
        return
    on_grid(snn, GRID)
    for shape in shapes:
        x = rounded(torch.randn(3, 2, *shape), GRID)
        wanted, found = (outcome(snn, x, backend) for backend in ("torch", "cpu"))
        if isinstance(wanted, str):
            assert found == wanted
        else:
            torch.testing.assert_close(found, wanted, equal_nan=True)


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=25, **SETTINGS)
@given(networks(), st.lists(SIZES, min_size=2, max_size=2))
def test_any_geometry_on_small_images(network, sizes):
    model, count = network
    require_same(model, [size[:count] for size in sizes])


@pytest.mark.slow
@settings(max_examples=1000, **SETTINGS | {"derandomize": False})
@given(networks(), st.lists(SIZES, min_size=3, max_size=3))
def test_many_geometries_on_small_images(network, sizes):
    model, count = network
    require_same(model, [size[:count] for size in sizes])


def test_a_pool_without_pixels_has_no_value_on_any_backend():
    pool = nn.MaxPool2d(2, stride=2, padding=1, dilation=2)
    layers = [nn.Conv2d(2, 5, 1), nn.ReLU(), pool, nn.Conv2d(5, 4, 1), nn.ReLU(), pool]
    model = nn.Sequential(*layers, nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten(2)).eval()
    snn = on_grid(build(model, torch.randn(3, 2, 9, 9), KINDS["signed"]), GRID)
    for size, lost in (((9, 9), False), ((1, 1), True), ((4, 1), True), ((9, 9), False)):
        x = rounded(torch.randn(3, 2, *size), GRID)
        wanted = outcome(snn, x, "torch")
        assert bool(wanted.isnan().any()) == lost
        for backend in ("cpu", "auto"):
            torch.testing.assert_close(outcome(snn, x, backend), wanted, equal_nan=True)


@pytest.mark.parametrize("still", [True, False])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 1)])
def test_dilated_convolutions_that_torch_computes_for_contiguous_maps_only(kernel, still):
    """With channels innermost they read beyond maps of one column, and the process dies."""
    dilated = nn.Conv2d(3, 5, kernel, stride=3, padding=(3, 2), dilation=2)
    first = [nn.Conv2d(2, 3, 1)] if still else [nn.Conv2d(2, 3, 1), nn.ReLU()]
    rest = [nn.AdaptiveAvgPool2d(1), nn.ReLU(), nn.Flatten(), nn.Linear(5, 3)]
    model = nn.Sequential(*first, dilated, *rest).eval()
    for width in (1, 2):
        x = rounded(torch.randn(6, 2, 2, width), GRID)
        snn = on_grid(build(model, x, KINDS["multi-level"]), GRID)
        wanted = outcome(snn, x, "torch")
        torch.testing.assert_close(outcome(snn, x, "cpu"), wanted)
