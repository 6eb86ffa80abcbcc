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

pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
GRID = 1 / 16
SETTINGS = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


@st.composite
def convolutions(draw: st.DrawFn, channels: int) -> nn.Module:
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    groups = draw(st.sampled_from([1, 1, 2, channels]))
    return nn.Conv2d(
        *(channels, channels, kernel),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        dilation=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        groups=groups,
        padding_mode=draw(st.sampled_from(["zeros", "zeros", "zeros", "circular"])),
    )


@st.composite
def pools(draw: st.DrawFn) -> nn.Module:
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    ceil = draw(st.booleans())
    if draw(st.booleans()):
        dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    return nn.AvgPool2d(kernel, stride, padding, ceil, draw(st.booleans()))


@st.composite
def networks(draw: st.DrawFn) -> nn.Sequential:
    torch.manual_seed(draw(st.integers(0, 2**20)))
    channels = draw(st.sampled_from([2, 4, 66]))
    layers: list[nn.Module] = [nn.Conv2d(2, channels, 1), nn.ReLU()]
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            layers.append(draw(pools()))
        layers += [draw(convolutions(channels)), nn.ReLU()]
        if draw(st.booleans()):
            layers.append(draw(pools()))
    layers += [nn.Conv2d(channels, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(3, 3)).eval()


@torch.no_grad()
def on_grid(snn):
    for name, parameter in snn.named_parameters():
        if name.endswith((".threshold", ".v0")):
            parameter.fill_(0.5 if name.endswith("threshold") else 0.25)
        else:
            parameter.copy_((parameter / GRID).round() * GRID)
    return snn


def outcome(snn, x: Tensor, backend: str) -> Tensor | str:
    """What the network returns at every timestep, or that it cannot."""
    snn.backend = backend
    try:
        return torch.cat(list(snn.chunks(x, 7, 3)))
    except RuntimeError:
        return "refused"


def require_same(model: nn.Module, sizes: list[tuple[int, int]]) -> None:
    try:
        snn = build(model, torch.randn(3, 2, 40, 40), KINDS["multi-level"])
    except ConversionError:
        return
    on_grid(snn)
    for size in sizes:
        x = (torch.randn(3, 2, *size) / GRID).round() * GRID
        wanted, found = (outcome(snn, x, backend) for backend in ("torch", "cpu"))
        if isinstance(wanted, str):
            assert found == wanted
        else:
            torch.testing.assert_close(found, wanted, equal_nan=True)


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=25, **SETTINGS)
@given(networks(), st.lists(SIZES, min_size=2, max_size=2))
def test_any_geometry_on_small_images(model, sizes):
    require_same(model, sizes)


@pytest.mark.slow
@settings(max_examples=1000, **SETTINGS | {"derandomize": False})
@given(networks(), st.lists(SIZES, min_size=3, max_size=3))
def test_many_geometries_on_small_images(model, sizes):
    require_same(model, sizes)


def test_a_pool_without_pixels_has_no_value_on_any_backend():
    pool = nn.MaxPool2d(2, stride=2, padding=1, dilation=2)
    layers = [nn.Conv2d(2, 5, 1), nn.ReLU(), pool, nn.Conv2d(5, 4, 1), nn.ReLU(), pool]
    model = nn.Sequential(*layers, nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten(2)).eval()
    snn = on_grid(build(model, torch.randn(3, 2, 9, 9), KINDS["signed"]))
    for size, lost in (((9, 9), False), ((1, 1), True), ((4, 1), True), ((9, 9), False)):
        x = (torch.randn(3, 2, *size) / GRID).round() * GRID
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
        x = (torch.randn(6, 2, 2, width) / GRID).round() * GRID
        snn = on_grid(build(model, x, KINDS["multi-level"]))
        wanted = outcome(snn, x, "torch")
        torch.testing.assert_close(outcome(snn, x, "cpu"), wanted)
