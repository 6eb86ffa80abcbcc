"""Detectors, segmenters, networks on clips, sound, sequences and graphs do everything, too.

In the default run each does the verbs that most depend on the architecture, and a few of the
others; together they do all. The slow run does everything on all.
"""

import pytest
from verbs import VERBS, violations

import spikeport as sp
from spikeport.scripts.coverage.networks import KINDS
from spikeport.scripts.coverage.other_networks import made

ALWAYS = ("backend auto", "save and load", "sweep")
OTHERS = [name for name in VERBS if name not in ALWAYS]
NAMES = [(kind, name) for kind, networks in KINDS.items() for name in networks]
LARGE = 2_000_000  # parameters; above that in the slow run alone


def run(kind, name, only):
    model, x = made(kind, name)
    snn = sp.to_snn(model, [x], neuron="multi-level", progress=False)
    return [one.message for one in violations(snn, model, x, only=only)]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_whatever_converts_does_everything(kind, name):
    index = NAMES.index((kind, name))
    if sum(value.numel() for value in made(kind, name)[0].parameters()) > LARGE:
        pytest.skip("large: in the slow run")
    assert not run(kind, name, [*ALWAYS, *OTHERS[index % 5 :: 5]])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_all_verbs(kind, name):
    assert not run(kind, name, list(VERBS))
