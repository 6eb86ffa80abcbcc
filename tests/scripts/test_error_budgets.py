"""The error budget of networks with trained weights adds up."""

import pytest

from spikeport.convert import KINDS
from spikeport.report.inspecting.inspection import PARTS
from spikeport.scripts.experiments.error_budgets import NETWORKS, budget


@pytest.mark.slow
@pytest.mark.parametrize("model", NETWORKS)
def test_the_parts_explain_the_output_error(model):
    pytest.importorskip("skimage")
    found = budget(model, KINDS["multi-level"], timesteps=16, images=8)
    assert found.explained == pytest.approx(1, abs=0.1)
    assert sum(row[part] for row in found.rows for part in PARTS) == pytest.approx(
        found.explained, rel=1e-3
    )
    assert all(row["structure"] == 0 for row in found.rows)
