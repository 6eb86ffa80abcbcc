"""Packed spikes: written by the scan, read by unpack, the average pool and the sparse linear."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from spikeport.cuda import launch
from spikeport.cuda.packed import avgpool, linear, pooled_size, unpack
from spikeport.cuda.rules import Rules
from spikeport.cuda.scan import scan

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
RULES = (Rules(1), Rules(1, 1, nonnegative=True), Rules(5), Rules(4, 4), Rules(2, 8), Rules(127))
property_test = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def packed_by_hand(counts, rules):
    """int32 [T, planes * words] of int [T, N]: the format as its definition says."""
    steps, neurons = counts.shape
    words = -(-neurons // 32)
    padded = torch.zeros(steps, words * 32, dtype=torch.int64)
    padded[:, :neurons] = counts
    bits = padded[:, None] >> torch.arange(rules.planes)[:, None] & 1
    weights = 2 ** torch.arange(32)
    found = (bits.view(steps, rules.planes, words, 32) * weights).sum(-1)
    return torch.where(found < 2**31, found, found - 2**32).int().flatten(1)


def counts_of(rules, steps, neurons, density=0.5):
    counts = torch.randint(-rules.max_down, rules.max_up + 1, (steps, neurons))
    return counts * (torch.rand(steps, neurons) < density)


def test_planes_hold_every_count():
    for up in range(1, 20):
        for down in range(20):
            planes = Rules(up, down).planes
            half = 2 ** (planes - 1)
            low, high = (-half, half - 1) if down else (0, 2 * half - 1)
            assert low <= -down
            assert up <= high
            assert -down < low // 2 or up > high // 2  # one plane less would not do


@property_test
@given(data=st.data())
def test_scan_packs_what_it_counts(cupy, data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**31)))
    rules, dtype = draw(st.sampled_from(RULES[:4])), draw(st.sampled_from(DTYPES))
    neurons, steps = draw(st.integers(1, 300)), draw(st.integers(1, 9))
    if draw(st.booleans()):
        neurons = -(-neurons // 8) * 8
    current, v = torch.randn(steps, neurons).to(dtype) * 2, torch.rand(neurons)
    total = torch.zeros(neurons)
    given_by = (current, None, torch.tensor([0.7]), None, None, None, v, total, rules.listed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_MOST_BLOCKS", (draw(st.integers(1, 2)), 1, 1))
        counts = scan(*given_by, steps, neurons, 0, "counts", False)[0]
        packed = scan(*given_by, steps, neurons, 0, "packed", False)[0]
    assert torch.equal(packed, packed_by_hand(counts.long(), rules))


@property_test
@given(data=st.data())
def test_unpack_gives_the_values(cupy, data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**31)))
    rules, dtype = draw(st.sampled_from(RULES)), draw(st.sampled_from(DTYPES))
    batch, channels, inner = (draw(st.integers(1, n)) for n in (3, 9, 12))
    steps, neurons = draw(st.integers(1, 6)), batch * channels * inner
    counts, threshold = counts_of(rules, steps, neurons), torch.rand(channels) + 0.1
    expected = counts.view(steps, batch, channels, inner) * threshold[:, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_MOST_BLOCKS", (1, draw(st.integers(1, 3)), 1))
        found = unpack(
            packed_by_hand(counts, rules),
            *(threshold, neurons, inner, rules.planes, rules.max_down > 0, dtype),
        )
    assert torch.equal(found, expected.flatten(1).to(dtype))


@property_test
@given(data=st.data())
def test_average_pool_of_spikes(cupy, data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**31)))
    rules, last = draw(st.sampled_from(RULES[:4])), draw(st.booleans())
    maps = [draw(st.integers(1, n)) for n in (3, 5)] + [draw(st.integers(3, 9)) for _ in range(2)]
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    stride = [draw(st.integers(1, 3)) for _ in range(2)]
    padding = [draw(st.integers(0, size // 2)) for size in kernel]
    include, dtype = draw(st.booleans()), draw(st.sampled_from(DTYPES))
    steps, threshold = draw(st.integers(1, 4)), torch.rand(maps[1]) + 0.1
    counts = counts_of(rules, steps, torch.Size(maps).numel()).view(steps, *maps)
    flat = (counts.movedim(2, -1) if last else counts).flatten(1)
    window = [*kernel, *stride, *padding]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_MOST_BLOCKS", (1, 2, 2))
        found = avgpool(
            packed_by_hand(flat, rules),
            *(threshold, maps, window, include, last, rules.planes, rules.max_down > 0, dtype),
        )
    images = counts.flatten(0, 1).float()
    sums = F.avg_pool2d(images, kernel, stride, padding, divisor_override=1)
    area = F.avg_pool2d(torch.ones(1, 1, *maps[2:]), kernel, stride, padding, divisor_override=1)
    if include:
        area = torch.full_like(area, float(kernel[0] * kernel[1]))
    expected = (sums * threshold[:, None, None] / area).view(steps, maps[0], maps[1], -1)
    rows, columns = pooled_size(maps, window)
    assert sums.shape[2:] == (rows, columns)
    expected = expected.transpose(2, 3) if last else expected
    assert torch.equal(found, expected.flatten(2).to(dtype))


@property_test
@given(data=st.data())
def test_linear_adds_up_in_order(cupy, data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**31)))
    rules, dtype = draw(st.sampled_from(RULES[:4])), draw(st.sampled_from(DTYPES))
    inputs = draw(st.sampled_from([1, 7, 33, 130, 1024, 1100, 2100]))
    outputs, batch = draw(st.sampled_from([1, 5, 128, 131])), draw(st.integers(1, 3))
    steps = draw(st.integers(1, 3))
    counts = counts_of(rules, steps, batch * inputs, draw(st.sampled_from([0.0, 0.05, 1.0])))
    weight, bias = torch.randn(inputs, outputs), torch.randn(outputs)
    with_bias = draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_MOST_BLOCKS", (draw(st.integers(1, 3)), 65535, 2))
        found = linear(
            packed_by_hand(counts, rules),
            *(weight, bias if with_bias else None, batch, rules.planes, rules.max_down > 0, dtype),
        )
    sums = torch.zeros(steps, batch, outputs)
    for i, spikes in enumerate(counts.view(steps, batch, inputs, 1).float().unbind(2)):
        sums += spikes * weight[i]
    expected = sums + bias if with_bias else sums
    assert torch.equal(found, expected.to(dtype))
