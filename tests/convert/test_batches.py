"""Data as it comes in."""

import pytest
import torch

from spikeport.convert import batches, processes


@pytest.mark.parametrize(("rank", "shown"), [(0, True), (1, False)])
def test_one_process_of_several_shows_the_bar(rank, shown, monkeypatch):
    bars = []

    def bar(data, *, disable, **_):
        bars.append(not disable)
        return data

    monkeypatch.setattr(batches, "tqdm", bar)
    monkeypatch.setattr(processes, "rank", lambda: rank)
    data = [torch.zeros(1, 3)]
    assert list(batches.stream(data, "simulating", progress=True)) == data
    assert bars == [shown]
