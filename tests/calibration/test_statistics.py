"""The streaming histogram against the whole data at once."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.calibration.statistics import BINS, ChannelHistogram


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    scales=st.lists(st.sampled_from([0.0, 1e-6, 1.0, 37.0, 1e5]), min_size=1, max_size=6),
)
def test_any_order_of_magnitudes_keeps_counts_and_maximum(seed, scales):
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.rand(3, 50, generator=generator) * scale for scale in scales]
    histogram = ChannelHistogram(3)
    for batch in batches:
        histogram.add(batch)
    everything = torch.cat(batches, 1)
    assert torch.equal(histogram.maximum, everything.amax(1).double())
    assert torch.equal(histogram.counts.sum(1), (everything > 0).sum(1).double())


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 10**6), percent=st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentile_is_within_a_bin_of_the_exact_one(seed, percent):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, 4000, generator=generator) ** 3
    histogram = ChannelHistogram(2)
    for batch in values.split(1000, dim=1):
        histogram.add(batch)
    exact = values.double().quantile(percent / 100, dim=1)
    assert torch.allclose(histogram.percentile(percent), exact, atol=4 / BINS)


def test_zeros_do_not_move_the_percentile():
    values = torch.rand(1, 1000)
    sparse, dense = ChannelHistogram(1), ChannelHistogram(1)
    dense.add(values)
    sparse.add(torch.cat([values, torch.zeros(1, 50_000)], 1))
    assert torch.equal(sparse.percentile(99.0), dense.percentile(99.0))
