"""Every verb on random networks."""

import pytest
from cut_down import Refused, failures
from open_faults import known
from random_networks import random_program
from survey import Survey

SEEDS = 30
MANY = 2000


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_converts_does_everything(seed):
    program = random_program(seed)
    try:
        found = [one for one in failures(program) if not known(one.kind)]
    except Refused:
        return
    text = "\n\n".join(one.message for one in found)
    assert not found, f"{program.text}\n\n{text}\n\npython tests/laws/random_networks.py {seed}"


def test_a_network_is_made_from_its_seed():
    first, again = random_program(3), random_program(3)
    assert first.text == again.text
    assert first.input().equal(again.input())
    weights = [list(one.network().state_dict().values()) for one in (first, again)]
    assert all(a.equal(b) for a, b in zip(*weights, strict=True))
    assert len({random_program(seed).text for seed in range(20)}) == 20


@pytest.mark.slow
def test_many(record_property):
    survey = Survey()
    for seed in range(10_000, 10_000 + MANY):
        survey.add(seed)
    record_property("shown", str(survey))
    assert not [kind for kind in survey.violated if not known(kind)]
    assert sum(survey.refused.values()) < MANY / 3
